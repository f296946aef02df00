/* libmnl's attribute functions, inline, for the files that read and write many of them. Internal to firewall/. */
#pragma once

#include <libmnl/libmnl.h>
#include <string.h>

#include <glib.h>

#define NESTED_MAX 16 /* types of one nest */

typedef const struct nlattr *Nested[NESTED_MAX];

/* A dump calls these some forty times an entry, and through the library they took a third of the exporter's time. */
static inline guint
attr_type(const struct nlattr *attr)
{
    return attr->nla_type & NLA_TYPE_MASK;
}

static inline const guint8 *
attr_octets(const struct nlattr *attr)
{
    return (const guint8 *)attr + MNL_ATTR_HDRLEN;
}

static inline guint
attr_length(const struct nlattr *attr)
{
    return attr->nla_len - MNL_ATTR_HDRLEN;
}

/* (nullable) the attribute at `at`, if it is whole. */
static inline const struct nlattr *
attr_at(const guint8 *at, const guint8 *end)
{
    const struct nlattr *attr = (const struct nlattr *)(const void *)at;
    return end - at >= (gssize)MNL_ATTR_HDRLEN && attr->nla_len >= MNL_ATTR_HDRLEN &&
                   attr->nla_len <= end - at
               ? attr
               : NULL;
}

static inline const struct nlattr *
attr_next(const struct nlattr *attr, const guint8 *end)
{
    return end - (const guint8 *)attr > MNL_ALIGN(attr->nla_len)
               ? attr_at((const guint8 *)attr + MNL_ALIGN(attr->nla_len), end)
               : NULL;
}

static inline void
open_nest(const struct nlattr *nest, Nested ret)
{
    const guint8 *end = attr_octets(nest) + attr_length(nest);
    memset(ret, 0, sizeof(Nested));
    for (const struct nlattr *attr = attr_at(attr_octets(nest), end); attr;
         attr = attr_next(attr, end))
        if (attr_type(attr) < NESTED_MAX)
            ret[attr_type(attr)] = attr;
}

/* The caller's buffer has room for SAMI_CT_MESSAGE_MAX octets. */
static inline void
put(struct nlmsghdr *nlh, guint type, gsize length, const void *octets)
{
    struct nlattr *attr = (struct nlattr *)(void *)((guint8 *)nlh + MNL_ALIGN(nlh->nlmsg_len));
    gsize padded = MNL_ALIGN(MNL_ATTR_HDRLEN + length);
    memset((guint8 *)attr + padded - 4, 0, 4);
    attr->nla_type = (guint16)type;
    attr->nla_len = (guint16)(MNL_ATTR_HDRLEN + length);
    memcpy((guint8 *)attr + MNL_ATTR_HDRLEN, octets, length);
    nlh->nlmsg_len = MNL_ALIGN(nlh->nlmsg_len) + (guint32)padded;
}

static inline void
put_u8(struct nlmsghdr *nlh, guint type, guint8 value)
{
    put(nlh, type, sizeof value, &value);
}

static inline void
put_u16(struct nlmsghdr *nlh, guint type, guint16 value)
{
    put(nlh, type, sizeof value, &value);
}

static inline void
put_u32(struct nlmsghdr *nlh, guint type, guint32 value)
{
    put(nlh, type, sizeof value, &value);
}

static inline struct nlattr *
nest_start(struct nlmsghdr *nlh, guint type)
{
    struct nlattr *nest = (struct nlattr *)(void *)((guint8 *)nlh + MNL_ALIGN(nlh->nlmsg_len));
    nest->nla_type = (guint16)(type | NLA_F_NESTED);
    nlh->nlmsg_len = MNL_ALIGN(nlh->nlmsg_len) + (guint32)MNL_ATTR_HDRLEN;
    return nest;
}

static inline void
nest_end(struct nlmsghdr *nlh, struct nlattr *nest)
{
    nest->nla_len = (guint16)((guint8 *)nlh + nlh->nlmsg_len - (guint8 *)nest);
}

/* A big-endian number of at most 8 octets; 0 if it is absent. */
static inline guint64
get_uint(const struct nlattr *attr)
{
    guint64 value = 0;
    const guint8 *octets = attr ? attr_octets(attr) : NULL;
    for (guint i = 0; octets && i < MIN(attr_length(attr), 8u); i++)
        value = value << 8 | octets[i];
    return value;
}

static inline void
get_octets(const struct nlattr *attr, guint8 ret[16])
{
    memcpy(ret, attr_octets(attr), MIN(attr_length(attr), 16u));
}

/* `ret` is zeroed; it keeps a final 0, and zeros behind it. */
static inline void
get_text(const struct nlattr *attr, gchar *ret, gsize size)
{
    memcpy(ret, attr_octets(attr), MIN(attr_length(attr), size - 1));
    memset(ret + strlen(ret), 0, size - strlen(ret));
}
