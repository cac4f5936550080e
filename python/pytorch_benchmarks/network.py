"""The network interface that leads to another machine: gloo must be given it, or it may listen where no other node can connect."""

from __future__ import annotations

import socket
import struct
import sys

_SIOCGIFADDR = 0x8915  # Linux: the IPv4 address of an interface


def endpoint(text: str) -> tuple[str, int] | None:
    """Host and port of `host:29500` or `[fe80::1]:29500`; None if it is neither."""
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    return (host, int(port)) if host and port.isdigit() and 0 < int(port) < 65536 else None


def interface_to(host: str) -> str:
    """The interface from which this machine reaches `host`; empty if that is the loopback interface or unknown."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((host, 9))  # sends nothing
            address = probe.getsockname()[0]
    except OSError:
        return ""
    if address.startswith("127."):
        return ""
    return next((name for _, name in socket.if_nameindex() if _address(name) == address), "")


def _address(interface: str) -> str:
    """The IPv4 address of an interface; empty if it has none."""
    if sys.platform != "linux":
        return ""
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            said = fcntl.ioctl(asked.fileno(), _SIOCGIFADDR, struct.pack("256s", interface.encode()[:15]))
        except OSError:
            return ""
    return socket.inet_ntoa(said[20:24])
