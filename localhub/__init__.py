"""A Hub on this machine: a small server that speaks the Hub's HTTP protocol on a folder."""

from localhub.datasets.repos import Datasets
from localhub.protocol.access import Limits
from localhub.protocol.faults import Fault, Faults
from localhub.server import Running, listen, make_admin_token, running, serve
from localhub.store.store import Store

__all__ = [
    "Datasets",
    "Fault",
    "Faults",
    "Limits",
    "Running",
    "Store",
    "listen",
    "make_admin_token",
    "running",
    "serve",
]
