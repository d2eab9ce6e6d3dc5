/* SPDX-License-Identifier: GPL-2.0-or-later */
/* BPF_PROG_TEST_RUN: the programs on crafted packets. */
#include "shim.h"

static int finish(struct omr_run *run, struct bpf_test_run_opts *opts)
{
	int error = bpf_prog_test_run_opts(run->prog_fd, opts);

	if (error)
		return error;
	run->verdict = opts->retval;
	run->duration_ns = opts->duration;
	run->data_out_len = opts->data_size_out;
	return 0;
}

int omr_run_skb(struct omr_run *run)
{
	struct __sk_buff ctx = {
	        .ifindex = run->ifindex,
	        .gso_segs = run->gso_segs,
	        .gso_size = run->gso_size,
	        .tstamp = run->tstamp,
	        .mark = run->mark,
	};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = run->data, .data_size_in = run->data_len,
	            .data_out = run->data_out, .data_size_out = run->data_out_len, .ctx_in = &ctx,
	            .ctx_size_in = sizeof(ctx), .repeat = run->repeat ? (int)run->repeat : 1);

	return finish(run, &opts);
}

int omr_run_xdp(struct omr_run *run)
{
	struct xdp_md ctx = {.data_end = run->data_len, .ingress_ifindex = run->ifindex};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = run->data, .data_size_in = run->data_len,
	            .data_out = run->data_out, .data_size_out = run->data_out_len, .ctx_in = &ctx,
	            .ctx_size_in = sizeof(ctx), .repeat = run->repeat ? (int)run->repeat : 1);

	return finish(run, &opts);
}

int omr_run_syscall(int prog_fd, void *ctx, __u32 ctx_len, __u32 *retval)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .ctx_in = ctx, .ctx_size_in = ctx_len);
	int error = bpf_prog_test_run_opts(prog_fd, &opts);

	*retval = opts.retval;
	return error;
}
