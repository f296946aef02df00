# A real sshd in firewall 2's namespace, where samictl is that of $WORK/there: sourced after testbed.sh by the cases that need one.
# shellcheck shell=bash
# sshd_start: sets SSHD_SSH, the words that run ssh to it, with the configuration $WORK/ssh.conf; 77 without the packages
sshd_start() {
    local sshd pam=no
    sshd=$(PATH=$PATH:/usr/sbin command -v sshd) && SSH=$(command -v ssh) && command -v ssh-keygen >/dev/null || return 77
    ssh-keygen -q -t ed25519 -N '' -f "$WORK/host_key" && ssh-keygen -q -t ed25519 -N '' -f "$WORK/user_key" && ssh-keygen -q -t ed25519 -N '' -f "$WORK/other_key" ||
        return 1
    # Without PAM a locked account may not log in, with PAM a container's often cannot.
    case $(getent shadow root | cut -d: -f2) in '!'*) pam=yes ;; esac
    cat >"$WORK/sshd.conf" <<CONF
Port 2222
ListenAddress 127.0.0.1
HostKey $WORK/host_key
PidFile none
AuthorizedKeysFile $WORK/user_key.pub
StrictModes no
PermitRootLogin prohibit-password
PasswordAuthentication no
UsePAM $pam
SetEnv PATH=$WORK/there:/usr/bin:/bin
CONF
    printf '[127.0.0.1]:2222 %s\n' "$(cut -d' ' -f1,2 "$WORK/host_key.pub")" >"$WORK/known"
    sshd_client_conf "$WORK/user_key" >"$WORK/ssh.conf"
    # shellcheck disable=SC2034
    SSHD_SSH="ip netns exec ${LAB}fw2 $SSH -F $WORK/ssh.conf"
    # sshd wants /run/sshd, which two cases at once cannot both make and remove: it has a /run of its own, in the mount namespace of ip netns exec.
    # shellcheck disable=SC2016
    ip netns exec "${LAB}fw2" sh -c 'mount -t tmpfs none /run && mkdir -m 755 /run/sshd && exec "$0" -D -e -f "$1"' "$sshd" "$WORK/sshd.conf" \
        >"$WORK/sshd.log" 2>&1 &
    poll 20 grep -q 'Server listening' "$WORK/sshd.log"
}

sshd_client_conf() { # KEY
    cat <<CONF
Host fw2.example alias
    HostName 127.0.0.1
    Port 2222
    User root
    IdentityFile $1
    IdentitiesOnly yes
    IdentityAgent none
    UserKnownHostsFile $WORK/known
    GlobalKnownHostsFile none
    StrictHostKeyChecking ${2:-yes}
    BatchMode yes
    LogLevel ERROR
CONF
}
