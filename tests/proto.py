"""Generates the stubs of protos/ into a folder: `python -m tests.proto` (make proto)."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = Path("pog/proto")


def generate(out: Path) -> None:
    """Writes message classes, their types and grpclib's service stubs for every .proto file to `out`/pog/proto."""
    protos = sorted((ROOT / "protos" / PACKAGE).glob("*.proto"))
    plugins = Path(sys.executable).parent
    subprocess.run(
        [
            *(sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'protos'}"),
            f"--plugin=protoc-gen-grpclib_python={plugins / 'protoc-gen-grpclib_python'}",
            *(f"--python_out={out}", f"--pyi_out={out}", f"--grpclib_python_out={out}"),
            *(str(proto) for proto in protos),
        ],
        check=True,
    )


if __name__ == "__main__":
    generate(ROOT)
