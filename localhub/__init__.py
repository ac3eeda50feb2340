"""A Hub on this machine: a small server that speaks the Hub's HTTP protocol on a folder."""

from localhub.protocol.access import Limits
from localhub.protocol.faults import Fault, Faults
from localhub.server import Running, listen, make_admin_token, running, serve
from localhub.shelves.shelf import Shelf
from localhub.store.store import Store

__all__ = [
    "Fault",
    "Faults",
    "Limits",
    "Running",
    "Shelf",
    "Store",
    "listen",
    "make_admin_token",
    "running",
    "serve",
]
