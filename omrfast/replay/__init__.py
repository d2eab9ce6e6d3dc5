# SPDX-License-Identifier: GPL-2.0-or-later
"""`omrfast replay`: captures run through the packet programs.

capture reads files, frames brings their link types to the two framings that the programs know,
sides tells what leaves and what arrives, planes opens the kernel's programs or the native build of
the same headers, engine runs them, report makes this document of the outcome (``--json``):

    {
      "file", "format": "pcap" | "pcapng", "link_types": [...], "damage": text | null,
      "packets": n,                       records in the file
      "replayed": n,                      those that the programs got
      "left_out": {reason: n},            the others: not_ip, none_local, both_local, other_host,
                                          without_time, without_mac, link_type
      "parse_errors": {reason: n},        truncated, malformed, fragment, extensions, vlans, options
                                          (truncated: also of what there is too little of to run)
      "start": Unix time, "duration_s", "clock_resolution_us", "packets_back_in_time": n,
      "local": {"addresses": [at most 8], "count": of them all,
                "by": {what decided: conversations; packets, for "the capture" and
                       "given MAC address"}},
      "rtt_ms": {"samples": n, "min", "p50", "p99"},       of all flows
      "flows": [{
        "local": "address:port", "remote": "address:port",   IPv6 in brackets
        "local_address", "local_port", "remote_address", "remote_port", "family": 4 | 6,
        "proto": "tcp",
        "first_packet": n,                the packet that made the entry
        "role": "client" | "server" | "midlife",
        "state": "handshake" | "established" | "closing" | "closed",
        "fallback": bool,                 offered MPTCP and is plain TCP
        "mptcp": null | {
          "token": number | null, "local_id", "remote_id", "backup": bool,
          "backup_announced", "backup_received": bool,
          "connection": index into connections, "joined": bool, "version": 0 | 1,
          "seen": {"sent": [...], "received": [...]}},       of add_addr, remove_addr, fastclose,
                                                             fail, infinite_mapping
        "tx_segments", "rx_segments", "tx_bytes", "rx_bytes",
        "retransmitted_segments", "spurious_retransmissions",
        "refilled_segments", "reordered_segments",
        "rtt_ms": {"samples": n, "min", "p50", "p99", "smoothed", "variation", "jitter"}
      }],
      "connections": [{"token", "version", "fallback": bool, "subflows": [index into flows]}],
      "totals": {...},                    the path's counters (struct omr_path_counters)
      "run": {"dataplane": "native" | "kernel", "seconds", "packets_per_second"},
      "samples": [{"packet", "flow": index, "rtt_us",
                   "source": "handshake" | "data" | "sack" | "echo"}]
    }

``samples`` only with ``--samples``; those of source "sack" are of data, completed by a SACK block
while the acknowledgement number waited for a hole. Packets are numbered from 1, as tshark's
frame.number. Flows are in the order in which their entries were made; a connection that takes over
the addresses and ports of another is a flow of its own. RTTs are null where there is no sample; p50
and p99 are
samples themselves (nearest rank). Both data planes give the same document but for ``run``.
"""
