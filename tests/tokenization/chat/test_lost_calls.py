"""What a template leaves out of an answer is noticed also where the same words stand elsewhere in it."""

from __future__ import annotations

import chat_templates
import pytest
from chats import assistant, byte_tokenizer, call, renderer, table, user

from tokenization.chat.report import check_stop
from tokenization.errors import RecipeError

FIRST_CALL_ONLY = """{%- for m in messages %}
{{- '<|im_start|>' + m.role + '\\n' + m.content }}
{%- if m.tool_calls %}{%- set f = m.tool_calls[0].function %}
{{- '<tool_call>' + f.name }}{{ f.arguments | tojson }}{{ '</tool_call>' }}{%- endif %}
{{- '<|im_end|>\\n' }}{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{%- endif %}"""


@pytest.mark.parametrize("second", [call("f", a="x"), call("f", a="y")])
def test_a_second_call_that_the_template_drops_sets_the_session_aside(second: dict[str, object]) -> None:
    tokenizer = byte_tokenizer(chat_templates.MARKERS)
    one = [user("q"), assistant("", tool_calls=[call("f", a="x")])]
    two = [user("q"), assistant("", tool_calls=[call("f", a="x"), second])]
    ranged = [user("q"), assistant("abc", tool_calls=two[1]["tool_calls"], train_ranges=[[0, 3]])]
    rendered = renderer(FIRST_CALL_ONLY, tokenizer).render(table(one, two, ranged))
    assert rendered.session.tolist() == [0]
    assert [(e.row, e.reason) for e in rendered.set_aside] == [(1, "answer_lost"), (2, "answer_lost")]


def test_a_dropped_call_sets_the_session_aside_also_where_reasoning_is_masked() -> None:
    tokenizer = byte_tokenizer(chat_templates.MARKERS)
    told = {"role": "system", "content": "", "tool_calls": [call("f", a="x")], "train": True}
    answer = [user("q"), assistant("a", reasoning_content="r", tool_calls=[call("f", a="x")])]
    ask = renderer(chat_templates.CHATML, tokenizer, reasoning="masked", history="last")
    rendered = ask.render(table([told], answer, [user("q"), assistant("a", reasoning_content="r")]))
    assert rendered.session.tolist() == [2]
    assert [(e.row, e.reason) for e in rendered.set_aside] == [(0, "answer_lost"), (1, "answer_lost")]


@pytest.mark.parametrize("between", ["", "</s>", "\n</s>"])
def test_chatml_without_its_stop_is_refused_whatever_else_would_stop_it(between: str) -> None:
    source = chat_templates.CHATML.replace("<|im_end|>", "<|im_end|>" + between)
    tokenizer = byte_tokenizer(["<|im_start|>", "</s>"], eos_token="</s>")
    with pytest.raises(RecipeError, match=r'add_special_tokens: \["<\|im_end\|>"\]'):
        check_stop(renderer(source, tokenizer))
    whole = byte_tokenizer(["<|im_start|>", "<|im_end|>", "</s>"], eos_token="</s>")
    assert check_stop(renderer(source, whole)) == (("</s>" if between else "<|im_end|>"),)
