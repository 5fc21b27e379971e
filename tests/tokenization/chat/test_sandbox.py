"""Templates are untrusted code."""

from __future__ import annotations

import datetime

import jinja2.meta
import pytest
from chats import byte_tokenizer, renderer, table, texts, user
from hypothesis import given
from hypothesis import strategies as st

from tokenization.chat.control import GENERATION_START, GENERATION_STOP
from tokenization.chat.sandbox import (
    ChatEnvironment,
    CompiledTemplate,
    TemplateFailure,
    read_source,
    split_marks,
)
from tokenization.chat.symbolic_environment import SymbolicEnvironment
from tokenization.chat.symbols import Ledger, NotSymbolic, Slot
from tokenization.chat.templates import BUILTIN_FOLDER, ChatTemplate
from tokenization.errors import RecipeError

DATE = datetime.date(2024, 7, 26)


def rendered(source: str, **variables: object) -> str:
    return CompiledTemplate(source, ChatEnvironment(DATE)).render(variables).text


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{{ cycler.__init__.__globals__ }}",
        "{% set ns = namespace(_x=1) %}",
        "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
        "{{ 'x' * 1000000000 }}",
        "{{ [0] * 1000000000 }}",
        "{{ 10 ** 10000000 }}",
        "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{% set ns = namespace(x='') %}{% for i in range(100) %}{% set ns.x = ns.x + '"
        + "y" * 1_000_000
        + "' %}{% endfor %}",
        "{% set x = 'y' * 1000000 %}{% for i in range(1000) %}{{ x }}{% endfor %}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{{ raise_exception('on purpose') }}",
        "{{ nothing + 'x' }}",
        "{{ 1 / 0 }}",
        "{% include 'etc/passwd' %}",
    ],
)
def test_what_escapes_grows_or_fails_is_a_template_failure(source: str) -> None:
    with pytest.raises(TemplateFailure):
        assert "mro" not in rendered(source, messages=[])


def test_the_environment_is_the_one_templates_are_written_for() -> None:
    assert rendered("{{ {'b': '<北>', 'a': 1} | tojson }}") == '{"b": "<北>", "a": 1}'
    assert rendered("{{ {'b': 1} | tojson(indent=2) }}") == '{\n  "b": 1\n}'
    assert rendered("{{ strftime_now('%Y-%m-%d') }}") == "2024-07-26"
    assert rendered("{% for i in range(9) %}{% if i > 2 %}{% break %}{% endif %}{{ i }}{% endfor %}") == "012"
    assert rendered("a\n  {% if true %}\nb\n  {% endif %}\nc") == "a\nb\nc"


def test_generation_marks_keep_their_place_through_macros_and_captured_blocks() -> None:
    source = (
        "pre{% macro f(x) %}{% generation %}{{ x }}{% endgeneration %}!{% endmacro %}"
        "{% set kept %}[{{ f('one') }}]{% endset %}{{ kept }}{{ f('two') }}"
    )
    text = CompiledTemplate(source, ChatEnvironment(DATE)).render({})
    assert text.text == "pre[one!]two!"
    assert [text.text[a:b] for a, b in text.marks] == ["one", "two"]
    assert split_marks("plain").marks == ()


def test_without_marks_the_text_is_the_same() -> None:
    source = "{% set x %}a{% generation %}b{{ m + 'c' }}{% endgeneration %}{% endset %}{{ x + 'd' + x }}"
    marked = CompiledTemplate(source, ChatEnvironment(DATE))
    bare = CompiledTemplate(source, ChatEnvironment(DATE, marks=False))
    names = {"m": "m"}
    assert bare.text(bare.with_globals(names)) == marked.render(names).text == "abmcdabmc"
    assert len(marked.text(marked.with_globals(names))) == len("abmcdabmc") + 4


def test_a_bad_template_is_a_recipe_error_and_names_the_line() -> None:
    with pytest.raises(RecipeError, match="line 2"):
        renderer("{{ 1 }}\n{% if %}", byte_tokenizer()).render(table([user("u")]))
    with pytest.raises(RecipeError, match="built-in ones are chatml"):
        ChatTemplate.load("chatmle", byte_tokenizer())
    with pytest.raises(RecipeError, match="no chat template"):
        ChatTemplate.load("tokenizer", byte_tokenizer())


def test_the_frozen_date_is_in_the_fingerprint() -> None:
    source = "{{ strftime_now('%d') }}{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}"
    tokenizer = byte_tokenizer()
    one, same, other = (
        ChatTemplate.load(source, tokenizer, date=d) for d in (DATE, DATE, datetime.date(2025, 1, 1))
    )
    assert one.fingerprint == same.fingerprint != other.fingerprint


@pytest.mark.parametrize(
    "source",
    [
        "{% set a = b %}{{ a }}{% for m in messages %}{{ m.x ~ loop.index ~ c }}{% else %}{{ d }}{% endfor %}{{ m }}",
        "{% macro f(a, b=c) %}{{ a ~ b ~ d }}{% endmacro %}{{ f(e) }}{{ range(2) }}{{ raise_exception }}",
        "{% generation %}{% set inner = outer %}{{ inner }}{% endgeneration %}{{ inner is defined }}",
        "{% if x is defined and 'a' + 'b' == y %}{{ namespace(z=1).z }}{% endif %}{{ strftime_now('%Y') }}",
        *(path.read_text(encoding="utf-8") for path in sorted(BUILTIN_FOLDER.glob("*.jinja"))),
    ],
)
def test_the_names_that_a_template_asks_for_are_those_that_jinja_finds(source: str) -> None:
    tree = ChatEnvironment(DATE).parse(source)
    assert read_source(source)[1] == jinja2.meta.find_undeclared_variables(tree)
    assert repr(read_source(source)[0]) == repr(tree), "both made the sums of constants"


def test_code_made_once_for_a_source_serves_each_environment_with_its_own_date_and_marks() -> None:
    source = "{{ strftime_now('%Y') }}{% generation %}{{ a ~ 'b' }}{% endgeneration %}"
    dates = datetime.date(2021, 1, 1), datetime.date(2022, 1, 1)
    made = [
        CompiledTemplate(source, ChatEnvironment(date, marks=marks)).render({"a": "a"})
        for marks in (True, False, True)
        for date in dates
    ]
    assert [each.text for each in made] == ["2021ab", "2022ab"] * 3
    assert [bool(each.marks) for each in made] == [True, True, False, False, True, True]
    ledger = Ledger(lambda text: False)
    symbolic = CompiledTemplate(source, SymbolicEnvironment(dates[0], ledger))
    with pytest.raises(NotSymbolic, match="prints an object"):  # plain code would print it
        symbolic.render({"a": ledger.value(Slot(0, ("content",)))})


def test_template_like_text_in_content_stays_text() -> None:
    tokenizer = byte_tokenizer()
    session = [user("{{ bos_token }}{% raw %}"), {"role": "assistant", "content": "{{ 1 }}"}]
    assert (
        "{{ bos_token }}{% raw %}"
        in texts(renderer("chatml", tokenizer).render(table(session)), tokenizer)[0]
    )


blocks = st.recursive(
    st.text("ab\n", max_size=3),
    lambda inner: st.lists(
        inner | inner.map(lambda x: GENERATION_START + x + GENERATION_STOP), max_size=3
    ).map("".join),
    max_leaves=12,
)


@given(blocks)
def test_marks_are_the_outermost_blocks_that_hold_something_however_they_nest(marked: str) -> None:
    text, spans, depth, begin = "", [], 0, 0
    for character in marked:
        if character == GENERATION_START:
            begin = begin if depth else len(text)
            depth += 1
        elif character == GENERATION_STOP:
            depth -= 1
            if not depth and len(text) > begin:
                spans.append((begin, len(text)))
        else:
            text += character
    found = split_marks(marked)
    assert (found.text, found.marks) == (text, tuple(spans))


def test_what_a_generation_block_sets_is_not_seen_behind_it() -> None:
    source = "{% set x = 1 %}{% generation %}{% set x = 2 %}{{ x }}{% endgeneration %}{{ x }}"
    assert rendered(source) == "21"
