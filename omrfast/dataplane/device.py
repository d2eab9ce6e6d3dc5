# SPDX-License-Identifier: GPL-2.0-or-later
"""What kind of device a path has: how it frames packets, and whether XDP is cheap on it."""

from __future__ import annotations

from omrfast.core.types import PathLink
from omrfast.dataplane.names import DataPlaneError
from omrfast.shim import link as bpf_link
from omrfast.shim._shim import lib

# linux/if_arp.h
_ETHERNET = frozenset({1, 772})  # ETHER, LOOPBACK
_BARE = frozenset({512, 519, 768, 769, 776, 65534})  # PPP, RAWIP, TUNNEL, TUNNEL6, SIT, NONE

# Physical NICs with native XDP whose drivers still do GRO after XDP_PASS.
_XDP_DRIVERS = frozenset(
    (
        *("bnxt_en", "dpaa2-eth", "dpaa2_eth", "fsl_enetc", "i40e", "ice", "igb", "igc", "ixgbe"),
        *("ixgbevf", "mlx4_en", "mlx5_core", "mvneta", "mvpp2", "nfp", "qede", "sfc", "st_gmac"),
        *("stmmac", "ti_cpsw"),
    )
)


def framing(link: PathLink) -> int:
    """enum omr_l2 of the device; raises DataPlaneError for a device type that is not known."""
    if link.arphrd in _ETHERNET:
        return int(lib.OMR_L2_ETHERNET)
    if link.arphrd in _BARE:
        return int(lib.OMR_L2_NONE)
    raise DataPlaneError(
        f"{link.ifname} has device type {link.arphrd} (ARPHRD_*), whose packet format is not "
        "known, so it cannot be measured: use the device below it, or report the type"
    )


def has_cheap_xdp(ifname: str) -> bool:
    """Is it a physical device on which native XDP costs no GRO? (Not veth, tun, virtio, modems.)"""
    return bpf_link.driver(ifname) in _XDP_DRIVERS
