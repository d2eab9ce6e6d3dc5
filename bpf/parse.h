/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From bytes to struct omr_packet, with a cursor: every step checks that what it is about to read
 * is there, and a packet that contradicts itself is given up under a named reason (enum
 * omr_unparsed), never guessed at. Runs under the BPF verifier and natively.
 */
#ifndef OMR_PARSE_H
#define OMR_PARSE_H

#include "options.h"

enum {
	OMR_ETH_HEADER = 14,
	OMR_VLAN_TAG = 4,
	OMR_VLANS_FOLLOWED = 2,
	OMR_IPV4_HEADER = 20,
	OMR_IPV6_HEADER = 40,
	OMR_EXTENSIONS_FOLLOWED = 4,
	OMR_UDP_HEADER = 8,

	OMR_TYPE_IPV4 = 0x0800,
	OMR_TYPE_IPV6 = 0x86dd,

	OMR_PROTO_HOPOPTS = 0,
	OMR_PROTO_ICMP = 1,
	OMR_PROTO_TCP = 6,
	OMR_PROTO_UDP = 17,
	OMR_PROTO_ROUTING = 43,
	OMR_PROTO_FRAGMENT = 44,
	OMR_PROTO_AH = 51,
	OMR_PROTO_ICMPV6 = 58,
	OMR_PROTO_DSTOPTS = 60,

	OMR_ND_FIRST = 133, /* RFC 4861: router solicitation to redirect */
	OMR_ND_LAST = 137,
	OMR_ICMPV6_ERRORS = 4, /* RFC 4443: types 1 to this */

	OMR_JUMBO_OPTION = 0xc204, /* RFC 2675: type and length */
	OMR_JUMBO_LEAST = 65536,

	/* both ports, local first */
	OMR_PORTS_V4 = __builtin_offsetof(struct omr_flow_key4, local_port_be),
	OMR_PORTS_V6 = __builtin_offsetof(struct omr_flow_key6, local_port_be),
};

/*
 * Moves the cursor behind the headers that were understood. Their length comes from memory, of
 * which the verifier knows nothing: all ways that lead here become one.
 */
OMR_INLINE void omr_to_header(const struct omr_packet *p, struct omr_cursor *c, const __u8 *data)
{
	c->at = data + (OMR_READ(p->headers) & OMR_OFFSET_MASK);
}

/* TCP, RFC 9293 section 3.1. `room` is what the IP header leaves for it. */
OMR_INLINE int omr_parse_tcp(struct omr_packet *p, struct omr_options *o, struct omr_cursor *c,
                             const __u8 *data, __u32 room)
{
	__u32 header;

	if (room < OMR_TCP_HEADER || !omr_reaches(c, OMR_TCP_HEADER))
		return OMR_REFUSE(OMR_UNPARSED_TRUNCATED);
	header = (c->at[12] >> 4) * 4;
	if (header < OMR_TCP_HEADER)
		return OMR_REFUSE(OMR_UNPARSED_MALFORMED);
	if (header > room)
		return OMR_REFUSE(OMR_UNPARSED_TRUNCATED);
	p->seq = omr_load32(c->at + 4);
	p->ack = omr_load32(c->at + 8);
	p->tcp_flags = c->at[13];
	p->window = omr_load16(c->at + 14);
	p->payload = room - header;
	p->headers += header;
	if ((p->tcp_flags & OMR_TCP_SYN) && (p->tcp_flags & (OMR_TCP_FIN | OMR_TCP_RST)))
		return OMR_REFUSE(OMR_UNPARSED_MALFORMED);
	return omr_parse_options(p, o, c, data, header - OMR_TCP_HEADER);
}

/*
 * Both ports in one store: the hash of the key reads them as one word, which would have to wait for
 * two halves.
 */
OMR_INLINE void omr_parse_ports(struct omr_packet *p, const struct omr_cursor *c, int egress)
{
	__u32 ports = omr_load32_be(c->at); /* source, destination: local, remote of what leaves */

	if (!egress)
		ports = ports << 16 | ports >> 16;
	if (p->family == 4)
		__builtin_memcpy((__u8 *)&p->key + OMR_PORTS_V4, &ports, sizeof(ports));
	else
		__builtin_memcpy((__u8 *)&p->key + OMR_PORTS_V6, &ports, sizeof(ports));
}

/* RFC 792: unreachable, quench, redirect, time exceeded, parameter problem. */
OMR_INLINE int omr_is_icmp_error(__u8 type)
{
	return type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
}

/* Only the type is read, never what an error quotes. */
OMR_INLINE int omr_parse_icmp(struct omr_packet *p, const struct omr_cursor *c, __u32 room)
{
	__u8 type;

	if (!room || !omr_reaches(c, 1))
		return OMR_REFUSE(OMR_UNPARSED_TRUNCATED);
	type = c->at[0];
	if (p->protocol == OMR_PROTO_ICMP) {
		if (p->family == 4 && omr_is_icmp_error(type))
			p->icmp_error = type;
	} else if (p->family == 6) {
		if (type >= OMR_ND_FIRST && type <= OMR_ND_LAST)
			p->lifeless = 1;
		else if (type && type <= OMR_ICMPV6_ERRORS)
			p->icmp_error = type;
	}
	return OMR_PARSED_OTHER;
}

/* What follows IP, which has left `room` for it. */
OMR_INLINE int omr_parse_transport(struct omr_packet *p, struct omr_options *o,
                                   struct omr_cursor *c, const __u8 *data, __u32 room, int egress)
{
	if (OMR_LIKELY(p->protocol == OMR_PROTO_TCP)) {
		if (!omr_reaches(c, 4))
			return OMR_REFUSE(OMR_UNPARSED_TRUNCATED);
		omr_parse_ports(p, c, egress);
		return omr_parse_tcp(p, o, c, data, room);
	}
	if (p->protocol == OMR_PROTO_UDP)
		p->headers += OMR_UDP_HEADER;
	if (p->protocol == OMR_PROTO_ICMP || p->protocol == OMR_PROTO_ICMPV6)
		return omr_parse_icmp(p, c, room);
	return OMR_PARSED_OTHER;
}

/*
 * RFC 791. A super-packet above 64 KiB has no length in its header (BIG TCP): the frame's counts.
 * Returns the room for what follows, or a refusal.
 */
OMR_INLINE __s64 omr_parse_ipv4(struct omr_packet *p, const struct omr_frame *f,
                                struct omr_cursor *c, int egress)
{
	__u32 header, total, room = f->len - p->headers;
	__u64 ends_be; /* source and destination, as they lie in memory */

	if (!omr_reaches(c, OMR_IPV4_HEADER))
		return OMR_REFUSE(OMR_UNPARSED_TRUNCATED);
	header = (c->at[0] & 15) * 4;
	total = omr_load16(c->at + 2);
	if (!total && f->gso_size)
		total = room;
	if (c->at[0] >> 4 != 4 || header < OMR_IPV4_HEADER || total < header)
		return OMR_REFUSE(OMR_UNPARSED_MALFORMED);
	if (total > room || !omr_reaches(c, header))
		return OMR_REFUSE(OMR_UNPARSED_TRUNCATED);

	ends_be = omr_load64_be(c->at + 12);
	if (!egress)
		ends_be = ends_be << 32 | ends_be >> 32;
	p->key.ends_be[0] = ends_be;
	p->family = 4;
	p->protocol = c->at[9];
	p->headers += header;
	if (c->at[16] >= 224) /* multicast, reserved, broadcast */
		p->lifeless = 1;
	if (omr_load16(c->at + 6) & 0x3fff) /* more fragments, or an offset */
		return OMR_REFUSE(OMR_UNPARSED_FRAGMENT);
	return total - header;
}

OMR_INLINE int omr_is_extension(__u8 protocol)
{
	return protocol == OMR_PROTO_HOPOPTS || protocol == OMR_PROTO_ROUTING ||
	       protocol == OMR_PROTO_DSTOPTS || protocol == OMR_PROTO_FRAGMENT ||
	       protocol == OMR_PROTO_AH;
}

/*
 * One IPv6 extension header (RFC 8200 section 4, AH: RFC 4302): its length in bytes, or a refusal.
 * The next protocol goes to p.
 */
OMR_INLINE int omr_parse_extension(struct omr_packet *p, const struct omr_cursor *c, __u32 room)
{
	__u32 size;

	if (room < 8 || !omr_reaches(c, 8))
		return OMR_REFUSE(OMR_UNPARSED_TRUNCATED);
	size = (c->at[1] + 1) * 8;
	if (p->protocol == OMR_PROTO_AH)
		size = (c->at[1] + 2) * 4;
	if (p->protocol == OMR_PROTO_FRAGMENT) {
		size = 8;
		if (omr_load16(c->at + 2) & 0xfff9) /* an offset, or more to come */
			return OMR_REFUSE(OMR_UNPARSED_FRAGMENT);
	}
	if (size > room)
		return OMR_REFUSE(OMR_UNPARSED_TRUNCATED);
	p->protocol = c->at[0];
	return size;
}

/* The room that the chain leaves, or a refusal. */
OMR_INLINE __s64 omr_parse_extensions(struct omr_packet *p, struct omr_cursor *c, const __u8 *data,
                                      __u32 room)
{
	int i, size;

#pragma GCC unroll 1
	for (i = 0; i < OMR_EXTENSIONS_FOLLOWED; i++) {
		if (!omr_is_extension(p->protocol))
			break;
		omr_to_header(p, c, data);
		size = omr_parse_extension(p, c, room);
		if (size < 0)
			return size;
		room -= size;
		p->headers += size;
	}
	return omr_is_extension(p->protocol) ? OMR_REFUSE(OMR_UNPARSED_EXTENSIONS) : (__s64)room;
}

/*
 * What an IPv6 payload length of 0 stands for: with a super-packet the rest of the frame, else what
 * the jumbo option says, which comes first (RFC 2675); without one nothing. Or a refusal.
 */
OMR_INLINE __s64 omr_jumbo_length(const struct omr_packet *p, const struct omr_frame *f,
                                  const struct omr_cursor *c, __u32 room)
{
	__u32 length;

	if (f->gso_size)
		return room;
	if (p->protocol != OMR_PROTO_HOPOPTS)
		return 0;
	if (!omr_reaches(c, 8))
		return OMR_REFUSE(OMR_UNPARSED_TRUNCATED);
	if (omr_load16(c->at + 2) != OMR_JUMBO_OPTION)
		return 0;
	length = omr_load32(c->at + 4);
	return length < OMR_JUMBO_LEAST ? OMR_REFUSE(OMR_UNPARSED_MALFORMED) : (__s64)length;
}

/* `source_be`: both addresses, as they lie in the header. */
OMR_INLINE void omr_parse_ends6(struct omr_packet *p, const __u8 *source_be, int egress)
{
	int local = egress ? 0 : 2;

	p->key.ends_be[local] = omr_load64_be(source_be);
	p->key.ends_be[local + 1] = omr_load64_be(source_be + 8);
	p->key.ends_be[2 - local] = omr_load64_be(source_be + 16);
	p->key.ends_be[3 - local] = omr_load64_be(source_be + 24);
}

/* RFC 8200. Returns the room for what follows, or a refusal. */
OMR_INLINE __s64 omr_parse_ipv6(struct omr_packet *p, const struct omr_frame *f,
                                struct omr_cursor *c, const __u8 *data, int egress)
{
	__u32 room = f->len - p->headers - OMR_IPV6_HEADER;
	__s64 payload;

	if (!omr_reaches(c, OMR_IPV6_HEADER))
		return OMR_REFUSE(OMR_UNPARSED_TRUNCATED);
	if (c->at[0] >> 4 != 6)
		return OMR_REFUSE(OMR_UNPARSED_MALFORMED);
	payload = omr_load16(c->at + 4);
	p->protocol = c->at[6];
	p->family = 6;
	p->headers += OMR_IPV6_HEADER;
	if (c->at[24] == 0xff) /* multicast */
		p->lifeless = 1;
	omr_parse_ends6(p, c->at + 8, egress);
	c->at += OMR_IPV6_HEADER;
	if (OMR_UNLIKELY(!payload)) {
		payload = omr_jumbo_length(p, f, c, room);
		if (payload < 0)
			return payload;
	}
	if (payload > room)
		return OMR_REFUSE(OMR_UNPARSED_TRUNCATED);
	if (OMR_LIKELY(p->protocol == OMR_PROTO_TCP))
		return payload;
	return omr_parse_extensions(p, c, data, payload);
}

OMR_INLINE int omr_is_vlan(__u16 ethertype)
{
	return ethertype == 0x8100 || ethertype == 0x88a8;
}

/* Ethernet with its tags: the type of what follows (0 if none of ours), or a refusal. */
OMR_INLINE int omr_parse_ethernet(struct omr_packet *p, struct omr_cursor *c)
{
	__u16 ethertype;
	int i;

	if (!omr_reaches(c, OMR_ETH_HEADER))
		return OMR_REFUSE(OMR_UNPARSED_TRUNCATED);
	if (c->at[0] & 1) /* group address */
		p->lifeless = 1;
	ethertype = omr_load16(c->at + 12);
	c->at += OMR_ETH_HEADER;
	p->headers = OMR_ETH_HEADER;
	for (i = 0; i < OMR_VLANS_FOLLOWED && omr_is_vlan(ethertype); i++) {
		if (!omr_reaches(c, OMR_VLAN_TAG))
			return OMR_REFUSE(OMR_UNPARSED_TRUNCATED);
		ethertype = omr_load16(c->at + 2);
		c->at += OMR_VLAN_TAG;
		p->headers += OMR_VLAN_TAG;
	}
	if (omr_is_vlan(ethertype))
		return OMR_REFUSE(OMR_UNPARSED_VLANS);
	return ethertype;
}

/* No link header: the IP version tells. */
OMR_INLINE int omr_parse_bare(const struct omr_cursor *c)
{
	if (!omr_reaches(c, 1))
		return OMR_REFUSE(OMR_UNPARSED_TRUNCATED);
	if (c->at[0] >> 4 == 4)
		return OMR_TYPE_IPV4;
	return c->at[0] >> 4 == 6 ? OMR_TYPE_IPV6 : 0;
}

/*
 * Reads a packet of `f->len` bytes of which [data, end) can be accessed; `o` is room to work in.
 * Returns enum omr_parsed or OMR_REFUSE(reason). After a refusal only p->headers and what
 * omr_proves_life() reads mean anything.
 */
OMR_INLINE int omr_parse(struct omr_packet *p, struct omr_options *o, const struct omr_frame *f,
                         const __u8 *data, const __u8 *end)
{
	struct omr_cursor c = {.at = data, .end = end};
	int type, egress = f->direction == OMR_EGRESS;
	__s64 room = -1;

	p->marks = 0;
	p->payload = 0;
	p->headers = 0;
	type = f->l2 == OMR_L2_ETHERNET ? omr_parse_ethernet(p, &c) : omr_parse_bare(&c);
	if (type == OMR_TYPE_IPV4)
		room = omr_parse_ipv4(p, f, &c, egress);
	else if (type == OMR_TYPE_IPV6)
		room = omr_parse_ipv6(p, f, &c, data, egress);
	else
		return type < 0 ? type : OMR_PARSED_OTHER;
	if (room < 0)
		return room;
	omr_to_header(p, &c, data);
	return omr_parse_transport(p, o, &c, data, room, egress);
}

/* Whether a packet is a sign of life; `parsed` is omr_parse()'s result. */
OMR_INLINE int omr_proves_life(const struct omr_packet *p, int parsed)
{
	return p->family && !p->lifeless && parsed != OMR_REFUSE(OMR_UNPARSED_TRUNCATED) &&
	       parsed != OMR_REFUSE(OMR_UNPARSED_MALFORMED);
}

#endif
