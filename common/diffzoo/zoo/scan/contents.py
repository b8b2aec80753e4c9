"""Whether a file is what its name says, to the last byte: weights, pictures and text that can be nothing else besides."""

import json
import math
import pickletools
import re
import struct
import zipfile
from pathlib import Path

from .config import Unreadable, _unique
from .finding import shown

HEADER = 8 * 2**20  # bytes of a safetensors header at most
BYTES = {"BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2}
BYTES |= {"I32": 4, "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8}
# what a plain state dict of torch.save names, and the other members of such a zip
REBUILT = {"collections OrderedDict", "torch._utils _rebuild_tensor_v2"}
REBUILT |= {
    f"torch {kind}Storage" for kind in ("Float", "Half", "BFloat16", "Double", "Long", "Int", "Short", "Char", "Byte", "Bool")
}
MEMBER = re.compile(r"[\w-]+/(data\.pkl|data/\d+|version|byteorder|\.format_version|\.storage_alignment|\.data/serialization_id)")
# operations of a pickle that build numbers, text, tuples, lists and dictionaries; REDUCE calls what GLOBAL named
INERT = re.compile(
    "PROTO|STOP|MARK|NONE|NEWTRUE|NEWFALSE|(LONG_)?BIN(GET|PUT)|BININT[12]?|LONG1|BINFLOAT|BINUNICODE|TUPLE[123]?"
    "|EMPTY_(TUPLE|LIST|DICT)|APPENDS?|SETITEMS?|BINPERSID|GLOBAL|REDUCE"
)
PNG = b"\x89PNG\r\n\x1a\n"


def weights_problem(path: Path) -> str | None:
    """What is wrong with a safetensors file, or None: tensors must fill it in order, without gap, overlap or rest."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 10 or length > min(size - 8, HEADER):
            return "is not safetensors: its header is longer than the file"
        text = file.read(length)
    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, Unreadable) else "its header is not JSON"
        return f"is not safetensors: {reason}"
    if not isinstance(header, dict):
        return "is not safetensors: its header is no mapping"
    comment = header.pop("__metadata__", {})
    if not isinstance(comment, dict) or not all(isinstance(value, str) for value in comment.values()):
        return "is not safetensors: its metadata are not text"
    try:
        spans = sorted(_span(name, entry) for name, entry in header.items())
    except ValueError as error:
        return str(error)
    end = 0
    for start, stop, name in spans:
        if start != end:
            return f"holds tensors that overlap or leave gaps, at {shown(name)}"
        end = stop
    return None if end == size - 8 - length else f"is {size - 8 - length} bytes of tensors where its header tells {end}"


def _span(name: str, entry: object) -> tuple[int, int, str]:
    """First byte, end, and name of a tensor."""
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"tells of {shown(name)} in another form than safetensors")
    shape, offsets = entry["shape"], entry["data_offsets"]
    valid = all(isinstance(values, list) and all(type(n) is int and n >= 0 for n in values) for values in (shape, offsets))
    if not valid or len(offsets) != 2 or not isinstance(entry["dtype"], str) or entry["dtype"] not in BYTES:
        raise ValueError(f"tells of {shown(name)} in another form than safetensors")
    if offsets[1] - offsets[0] != math.prod(shape) * BYTES[entry["dtype"]]:
        raise ValueError(f"gives {shown(name)} another number of bytes than its shape needs")
    return offsets[0], offsets[1], name


def state_dict_problem(path: Path) -> str | None:
    """What is wrong with a model.pt, or None: a zip of torch.save whose pickle, read and not loaded, names tensors alone."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if any(m.compress_type != zipfile.ZIP_STORED or not MEMBER.fullmatch(m.filename) for m in members):
                return "is a zip with other members than a plain state dict has"
            pickles = [m for m in members if m.filename.endswith("/data.pkl")]
            if len(pickles) != 1 or pickles[0].file_size > HEADER or len({m.filename for m in members}) < len(members):
                return "is a zip without one pickle of a moderate size"
            operations = [(code.name, arg) for code, arg, _ in pickletools.genops(archive.read(pickles[0]))]
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError, RuntimeError, IndexError) as error:
        return f"is no plain state dict of torch.save ({type(error).__name__})"
    for name, operation in operations:
        if not INERT.fullmatch(name):
            return f"is a pickle with the operation {name}, which a plain state dict does not have"
        if name == "GLOBAL" and operation not in REBUILT:
            return f"is a pickle that calls {shown(operation)}"
    return None


def text_problem(path: Path) -> str | None:
    """What is wrong with a text file, or None: UTF-8 without control characters."""
    data = path.read_bytes()
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return "is not text (UTF-8)"
    if any(ord(c) < 32 and c not in "\n\r\t" for c in text):
        return "holds control characters: it is not plain text"
    return "is a program" if text.startswith("#!") else None


def picture_problem(path: Path) -> str | None:
    """What is wrong with a PNG file, or None: whole chunks up to IEND, and nothing after it."""
    data = path.read_bytes()
    if not data.startswith(PNG):
        return "is not a PNG picture"
    at = len(PNG)
    while at + 12 <= len(data):
        (length,), kind = struct.unpack(">I", data[at : at + 4]), data[at + 4 : at + 8]
        at += 12 + length
        if kind == b"IEND":
            return None if at == len(data) else f"holds {len(data) - at} bytes after the end of the picture"
    return "is a PNG picture that is cut short"
