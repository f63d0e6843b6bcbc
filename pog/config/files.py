"""Reading a text file that people have written, whatever their editor or shell made of it."""

import codecs

from pog.errors import SettingsError

# The byte order marks and what they announce; the longer ones first, for UTF-32's little-endian begins as UTF-16's.
# Windows PowerShell 5 writes UTF-16 where output is redirected, and a mark before UTF-8.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def decode(data: bytes) -> str:
    """Text in UTF-8, or in what its byte order mark says. Raises UnicodeDecodeError."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding)
    return data.decode("utf-8")


def read_bytes(path: str) -> bytes:
    """Raises SettingsError that names the file."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        reason = error.strerror if isinstance(error, OSError) else error
        raise SettingsError(path, f"cannot be read: {reason}") from None


def read_text(path: str) -> str:
    """Raises SettingsError that names the file."""
    try:
        return decode(read_bytes(path))
    except UnicodeDecodeError:
        raise SettingsError(path, "must be text in UTF-8, or in UTF-16 or UTF-32 with a byte order mark") from None
