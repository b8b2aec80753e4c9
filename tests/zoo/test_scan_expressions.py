"""The grammar of a config's strings, and reading them: what configs need passes, all else does not, nothing crashes."""

import ast
import json
import re

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from diffzoo.zoo.scan import expressions
from diffzoo.zoo.scan.config import Unreadable, check, read

GOOD = (
    "$@bundle_root + '/models/model.safetensors'",
    "$@output_dir + '/a' + '_b.json'",
    "$@epochs * @steps_per_epoch",
    "$@ema.average",
    "$@train#steps // 2 - 1",
    "$@train::handlers::0",
    "$-@lam if @rule == 'dds' else 0.5",
    "$not @samples > 1 and @sampler in ['ddim', 'euler']",
    "${'steps': @steps, 'levels': (1, 2.5, None, True)}",
    "$1 < @steps <= 20",
)
OUTSIDE = (
    *(
        "$",
        "$ 1",
        "$1\n",
        "$x",
        "$torch",
        "$f(1)",
        "$@a()",
        "$@a.run",
        "$@a.average.data",
        "$@a._x",
        "$'a'.join",
        "$b'x'",
        "$1j",
        "$...",
    ),
    *(
        "$@",
        "$@a @ @b",
        "$@::a",
        "$@#a",
        "$@a::",
        "$@é",
        "$@a + ''",
        "$'/x' + @a",
        "$@a + '/../x'",
        "$@a + '/.x'",
        "$'a' * 9",
        "$@a - '/x'",
    ),
    *(
        "$[0] * 9",
        "$@a % 2",
        "$2 ** 9",
        "$1 << 9",
        "$~1",
        "$@a[0]",
        "$@a[0:1]",
        "$@a['b']",
        "$(yield)",
        "$*@a",
        "${1, 2}",
        "${**@a}",
    ),
    *(
        "$'@a'",
        "$'/etc'",
        "$'$x'",
        "$'_target_'",
        "$f'{1}'",
        "$'a' 'b' + 'c'",
        "$(1) + ('/x')",
        "$" + "-" * 50 + "1",
        "$1 if 1 else f()",
    ),
)


@pytest.mark.parametrize("text", GOOD)
def test_the_grammar_holds_what_configs_need_and_monai_evaluates_it(text):
    from monai.bundle import ConfigParser

    assert expressions.problem(text) is None
    names = set(re.findall(r"@(\w+)", text))
    known = {"bundle_root": "r", "output_dir": "o", "rule": "dds", "sampler": "ddim", "ema": torch.nn.Module()}
    known["ema"].average, known["train"] = 1, {"steps": 8, "handlers": [3]}
    parser = ConfigParser({name: known.get(name, 3) for name in names} | {"value": text})
    assert parser.get_parsed_content("value") is not None


@pytest.mark.parametrize("text", OUTSIDE)
def test_all_else_is_outside_the_grammar(text):
    assert expressions.problem(text)


PIECES = [
    "@a",
    "@b::0",
    "@::c",
    "@",
    "1",
    "2.5",
    "'x'",
    "'/x'",
    "None",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    " ",
    " + ",
    " * ",
    "**",
]
PIECES += [
    " % ",
    " if ",
    " else ",
    " and ",
    " not ",
    " in ",
    ".average",
    ".x",
    "__",
    "lambda",
    "import os",
    ":=",
    "f'",
    "'",
    '"',
    "#",
    "\\",
]


@given(st.one_of(st.text(max_size=40), st.lists(st.sampled_from(PIECES), max_size=14).map("".join)))
@settings(deadline=None, max_examples=400)
def test_any_text_is_judged_and_what_passes_calls_nothing(text):
    reason = expressions.problem(f"${text}")
    assert reason is None or (reason.isascii() and reason.isprintable())
    if reason is None:
        evaluated = re.sub(r"@\w*(::\w*)*", lambda found: f"refs[{found[0]!r}]", text.replace("#", "::"))
        nodes = list(ast.walk(ast.parse(evaluated, mode="eval")))
        assert not [n for n in nodes if isinstance(n, ast.Call | ast.Lambda | ast.JoinedStr | ast.NamedExpr | ast.Pow)]
        assert {n.id for n in nodes if isinstance(n, ast.Name)} <= {"refs"}


@given(st.binary(max_size=60), st.sampled_from(["x.yaml", "x.json"]))
@settings(deadline=None, max_examples=200)
def test_any_bytes_are_a_config_or_unreadable(data, name):
    try:
        assert isinstance(read(name, data), dict)
    except Unreadable as error:
        assert str(error).isprintable()


TREES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.sampled_from(["word", "two words", "@seed", "$@seed + 1", "a\tb"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "path_", "steps"]), inner, max_size=3),
    max_leaves=8,
)


@given(TREES)
@settings(deadline=None, max_examples=60)
def test_yaml_and_its_json_twin_read_alike_and_harmless_ones_pass(tree):
    content = {"value": tree}
    twin = read("x.json", json.dumps(content).encode())
    assert read("x.yaml", yaml.safe_dump(content).encode()) == twin == content
    assert list(check("x.json", twin)) == []


@pytest.mark.parametrize("value", ["@weights", "@output_dir", "$@output_dir + '/log.jsonl'", None])
def test_paths_below_a_place_may_be_written_to(value):
    assert expressions.below_place(value)


@pytest.mark.parametrize(
    "value", ["@x", "$@x + '/a'", "$@output_dir * 2", "$@output_dir + '/../a'", "out", "", "$'a'", "$(@a)()", 3]
)
def test_other_paths_may_not(value):
    assert not expressions.below_place(value)
