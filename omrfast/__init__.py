# SPDX-License-Identifier: GPL-2.0-or-later
"""Fast, trustworthy failover for Linux routers with several uplinks."""

__version__ = "0.1.0"
