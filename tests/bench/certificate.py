"""A throw-away certificate for the fronts of one run, and the authority that the clients trust."""

from dataclasses import dataclass
from pathlib import Path

import trustme

NAME = "localhost"  # what the clients verify, whatever address they connect to


@dataclass(frozen=True, slots=True)
class Certificate:
    """`authority` is what a client trusts; `bundle` is the certificate, its chain and its key in one file (PEM)."""

    authority: Path
    bundle: Path


def issue(folder: Path) -> Certificate:
    """Makes both files in `folder`."""
    ca = trustme.CA()
    found = Certificate(folder / "authority.pem", folder / "front.pem")
    ca.cert_pem.write_to_path(str(found.authority))
    found.bundle.touch(mode=0o600)
    ca.issue_cert(NAME).private_key_and_cert_chain_pem.write_to_path(str(found.bundle))
    return found
