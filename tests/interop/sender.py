"""sender.py HOST PORT FILE [CERTIFICATE KEY ANSWER]: sends a file over TCP, or inside TLS as the owner of CERTIFICATE, to whoever is there; keeps what
comes back, until the other side ends the session, in ANSWER. Says how it ended."""
import socket
import ssl
import sys

host, port, path, *secrets = sys.argv[1:]
connection = socket.create_connection((host, int(port)), timeout=15)
if secrets:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(secrets[0], secrets[1])
    connection = context.wrap_socket(connection)
answer, end = b"", "closed"
try:
    with open(path, "rb") as octets:
        connection.sendall(octets.read())
    while piece := connection.recv(65536):
        answer += piece
except TimeoutError:
    end = "still open"
except OSError as error:  # who ends a session without having read all of it, resets it
    end = "closed: %s" % error
if secrets:
    with open(secrets[2], "wb") as out:
        out.write(answer)
print(end, len(answer), flush=True)
sys.exit(end == "still open")
