/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef OMR_SHIM_H
#define OMR_SHIM_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <linux/types.h>
#include <linux/bpf.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "../../bpf/abi.h"
#include "../../bpf/fold.h"
#include "shim_api.h"

#endif
