"""The grammar of strings in a config: `$` expressions, `%` macros, `@` references, and text that could be a path.

An expression is judged in the very text that MONAI hands to `eval`: `#` becomes `::`, and `@a::b` becomes `__local_refs['a::b']`,
inside quotes too. There are no calls, names, lambdas, comprehensions or subscripts: `@a::0` is MONAI's own way to an item.
"""

import ast
import re
import warnings

from .finding import shown

ATTRIBUTES = ("average", "device", "dtype", "shape")  # of a reference: the averaged network of an EMA, and facts of a tensor
PLACES = ("bundle_root", "dataset_dir", "output_dir", "weights", "baseline_weights")  # a person's, or below one of these
# arguments that name a file or folder, which must lie below a place
PATHS = frozenset({*PLACES, "path", "store", "source", "folder", "filename", "save_dir", "log_dir"})
LENGTH, DEPTH, MACROS = 300, 12, 8

REFERENCE = re.compile(r"@\w*(?:::\w*)*")  # MONAI's own pattern
WHOLE_ID = re.compile(r"\w+(::\w+)*", re.ASCII)
PLAIN_REFERENCE = re.compile(r"@(::|#)*\w+((::|#)\w+)*", re.ASCII)  # "@::a" is relative to where it stands
PIECE = re.compile(r"(/?[A-Za-z0-9_][\w.-]*)+", re.ASCII)  # of a path: no part begins with a dot
ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv)  # neither % nor **: the one formats text, the other never ends
COMPARISONS = (ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Is, ast.IsNot, ast.In, ast.NotIn)
GRAMMAR = "an expression joins @references and literals by arithmetic, comparison, and/or/not or if/else, and calls nothing"


class _Outside(Exception):
    """What of an expression is outside the grammar."""


def problem(text: str) -> str | None:
    """What is wrong with an expression ("$..."), or None. Nothing is evaluated."""
    try:
        _check(_tree(text), 0)
    except _Outside as reason:
        return str(reason)
    return None


def below_place(value: object) -> bool:
    """Whether a value is nothing, a reference to a place, or `$@place + '/name'`."""
    if value is None:
        return True
    if not isinstance(value, str):
        return False
    if value[:1] == "@":
        return value[1:] in PLACES
    try:
        node = _tree(value) if value[:1] == "$" else None
        while isinstance(node, ast.BinOp) and _text(node.right) is not None:
            _check(node, 0)
            node = node.left
        return node is not None and _reference(node) in PLACES
    except _Outside:
        return False


def default_place(value: str) -> bool:
    """Whether a text may be the default of a place, such as "." or "out": a path below the current folder."""
    return value == "." or (bool(PIECE.fullmatch(value)) and value[0] != "/")


def is_reference(value: object) -> bool:
    """Whether a value is one whole `@id`."""
    return isinstance(value, str) and bool(PLAIN_REFERENCE.fullmatch(value))


def text_problem(text: str) -> str | None:
    """What makes a plain string of a config look like a way to a file outside, or None."""
    if any(ord(c) < 32 and c not in "\n\t" for c in text):
        return f"{shown(text)} holds control characters"
    if text[:1] in ("/", "~", "\\") or re.match(r"[A-Za-z]:[\\/]", text):
        return f"{shown(text)} is an absolute path"
    if "://" in text:
        return f"{shown(text)} is an address on a network"
    if re.search(r"(^|[\\/])\.", text):
        return f"{shown(text)} leads to a parent folder or a hidden file"
    if re.search(r"^\S*/\S*$|\.[A-Za-z]\w{0,9}$", text):
        return f"{shown(text)} looks like a file"
    return None


def macro_problem(text: str) -> str | None:
    """What is wrong with a macro ("%..."), or None: only ids of the same config are copied.

    MONAI opens a file after `%` from the current folder, wherever that is, so what it reads there is never what was scanned.
    """
    return None if WHOLE_ID.fullmatch(text[1:].replace("#", "::")) else f"the macro {shown(text)} copies more than an id"


def _tree(text: str) -> ast.expr:
    source = text[1:].replace("#", "::")
    if len(source) > LENGTH:
        raise _Outside(f"an expression of {len(source)} characters (at most {LENGTH})")
    if not (source.isascii() and source.isprintable()) or source[:1] == " ":
        raise _Outside(f"{shown(text)} holds characters that do not belong into an expression")
    if mark := re.search(r"__|%|\\|@::", source):
        raise _Outside(f"{shown(text)} holds {mark[0]!r}")
    if bad := next((reference for reference in REFERENCE.findall(source) if not WHOLE_ID.fullmatch(reference[1:])), None):
        raise _Outside(f"{shown(text)} holds {shown(bad)}, which is no reference")
    evaluated = REFERENCE.sub(lambda match: f"__local_refs['{match[0][1:]}']", source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(evaluated, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise _Outside(f"{shown(text)} is not an expression") from None


def _reference(node: ast.expr) -> str | None:
    """The id that `__local_refs['id']` refers to; None for another node."""
    named = isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == "__local_refs"
    return node.slice.value if named and isinstance(node.slice, ast.Constant) else None


def _text(node: ast.expr) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _check(node: ast.expr, depth: int) -> None:
    """Raises _Outside unless the node is within the grammar."""
    if depth > DEPTH:
        raise _Outside("an expression nested too deeply")
    if _reference(node) is not None:
        return
    if isinstance(node, ast.Attribute):
        if _reference(node.value) is None or node.attr not in ATTRIBUTES:
            raise _Outside(f"attribute {shown(node.attr)} (only {', '.join(ATTRIBUTES)} of a reference)")
    elif isinstance(node, ast.Constant):
        _check_constant(node.value)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ARITHMETIC):
        _check_arithmetic(node, depth)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd | ast.Not):
        _check(node.operand, depth + 1)
    else:
        for part in _parts(node):
            _check(part, depth + 1)


def _parts(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.Compare) and all(isinstance(op, COMPARISONS) for op in node.ops):
        return [node.left, *node.comparators]
    if isinstance(node, ast.BoolOp):
        return node.values
    if isinstance(node, ast.IfExp):
        return [node.test, node.body, node.orelse]
    if isinstance(node, ast.List | ast.Tuple):
        return node.elts
    if isinstance(node, ast.Dict) and all(isinstance(key, ast.Constant) for key in node.keys):
        return [*node.keys, *node.values]
    if isinstance(node, ast.Call):
        raise _Outside(f"a call of {shown(ast.unparse(node.func))}")
    if isinstance(node, ast.Name):
        raise _Outside(f"the name {shown(node.id)}")
    raise _Outside(f"{type(node).__name__} {shown(ast.unparse(node))}")


def _check_constant(value: object) -> None:
    if isinstance(value, str):
        if value[:1] in ("$", "@", "%", "_"):
            raise _Outside(f"the text {shown(value)}")
        if reason := text_problem(value):
            raise _Outside(reason)
    elif value is not None and not isinstance(value, bool | int | float):
        raise _Outside(f"the constant {shown(value)}")


def _check_arithmetic(node: ast.BinOp, depth: int) -> None:
    """Numbers and references; text only after a reference or a longer path, and only a piece of a path."""
    right = _text(node.right)
    if right is not None:
        joined = isinstance(node.left, ast.BinOp) and _text(node.left.right) is not None
        if not (isinstance(node.op, ast.Add) and (joined or _reference(node.left) is not None) and PIECE.fullmatch(right)):
            raise _Outside(f"the text {shown(right)} in arithmetic (only @reference + '/name')")
        _check(node.left, depth + 1)
        return
    for side in (node.left, node.right):
        if isinstance(side, ast.List | ast.Tuple | ast.Dict) or _text(side) is not None:
            raise _Outside(f"arithmetic on {shown(ast.unparse(side))}")
        _check(side, depth + 1)
