"""The built-in ChatML: its exact text, its mask, and roles that a recipe declares."""

from __future__ import annotations

from chats import assistant, byte_tokenizer, call, renderer, system, table, texts, trained, user

from tokenization.chat.report import report_on
from tokenization.chat.roles import Role


def test_a_session_renders_to_this_text_and_these_targets() -> None:
    tokenizer = byte_tokenizer()
    session = [system("Be brief."), user("Hi"), assistant("Hello"), user("Bye"), assistant("Goodbye")]
    rendered = renderer("chatml", tokenizer).render(table(session))
    assert texts(rendered, tokenizer) == [
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\nHello<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n"
        "<|im_start|>assistant\nGoodbye<|im_end|>\n"
    ]
    assert trained(rendered, tokenizer) == [["Hello<|im_end|>", "Goodbye<|im_end|>"]]
    assert rendered.span_message.tolist() == [2, 4]
    assert rendered.stop_ids == {tokenizer.added_tokens["<|im_end|>"]}
    assert rendered.cut.tolist() == [-1]


def test_spans_are_the_trained_runs_in_tokens_with_their_stop() -> None:
    tokenizer = byte_tokenizer()
    rendered = renderer("chatml", tokenizer).render(table([user("Hi"), assistant("Hello")]))
    ids = rendered.sequences.input_ids[rendered.span_start[0] : rendered.span_stop[0]]
    assert tokenizer.decode(ids) == "Hello<|im_end|>"
    assert rendered.sequences.loss_mask.sum() == len(ids)


def test_reasoning_and_calls_are_structure_and_results_are_masked() -> None:
    tokenizer = byte_tokenizer()
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"z": 1, "a": "北京"}}}
    messages = [
        user("Weather?"),
        assistant("", reasoning_content="Ask.", tool_calls=[call("weather", city="北京", b=1)]),
        {"role": "tool", "content": "sunny"},
        assistant("Sunny."),
    ]
    rendered = renderer("chatml", tokenizer).render(table({"messages": messages, "tools": [tool]}))
    assert trained(rendered, tokenizer) == [
        [
            "<think>\nAsk.\n</think>\n\n<tool_call>\n"
            '{"name": "weather", "arguments": {"city": "北京", "b": 1}}\n</tool_call><|im_end|>',
            "Sunny.<|im_end|>",
        ]
    ]
    text = texts(rendered, tokenizer)[0]
    assert '{"name": "weather", "parameters": {"z": 1, "a": "北京"}}' in text  # key order, no escapes
    assert "<|im_start|>tool\n<tool_response>\nsunny\n</tool_response><|im_end|>\n" in text
    ids = rendered.sequences.input_ids.tolist()
    assert ids.count(tokenizer.added_tokens["<tool_call>"]) == 2  # the explanation's and the call's


def test_declared_roles_have_their_headers_and_only_trained_ones_are_targets() -> None:
    tokenizer = byte_tokenizer()
    roles = {
        "背景": Role("背景"),
        "旁白": Role("旁白", trained=True),
        "事件": Role("event"),
        "character": Role("character", trained=True),
    }
    session = [
        {"role": "背景", "content": "雨夜"},
        {"role": "旁白", "content": "灯灭了。"},
        {"role": "事件", "content": "敲门"},
        {"role": "character", "name": "King Lear", "content": "谁？"},
    ]
    rendered = renderer("chatml", tokenizer, roles=roles).render(table(session))
    assert texts(rendered, tokenizer) == [
        "<|im_start|>背景\n雨夜<|im_end|>\n<|im_start|>旁白\n灯灭了。<|im_end|>\n"
        "<|im_start|>event\n敲门<|im_end|>\n<|im_start|>character King Lear\n谁？<|im_end|>\n"
    ]
    assert trained(rendered, tokenizer) == [["灯灭了。<|im_end|>", "谁？<|im_end|>"]]


def test_a_header_may_be_a_special_token_and_several_tokens_are_all_masked() -> None:
    tokenizer = byte_tokenizer([*byte_tokenizer().added_tokens, "<|narrator|>"])
    roles = {"narrator": Role("<|narrator|>", trained=True), "stage manager": Role("stage manager")}
    session = [
        {"role": "stage manager", "content": "Lights."},
        {"role": "narrator", "content": "Once <|narrator|>"},
    ]
    rendered = renderer("chatml", tokenizer, roles=roles).render(table(session))
    ids = rendered.sequences.input_ids.tolist()
    assert ids.count(tokenizer.added_tokens["<|narrator|>"]) == 1  # the header's, not the typed one
    assert trained(rendered, tokenizer) == [["Once <|narrator|><|im_end|>"]]


def test_role_policies_set_sessions_aside_with_a_reason() -> None:
    roles = {
        "narrator": Role("narrator", may_open=False),
        "event": Role("event", successors=("assistant",)),
    }
    ask = renderer("chatml", byte_tokenizer(), roles=roles)
    narrator, event = {"role": "narrator", "content": "n"}, {"role": "event", "content": "e"}
    rendered = ask.render(
        table(
            [narrator, assistant("a")],
            [event, user("u"), assistant("a")],
            [{"role": "robot", "content": "r"}, assistant("a")],
            [user("u"), narrator, event, assistant("a")],
        )
    )
    assert [(entry.row, entry.reason) for entry in rendered.set_aside] == [
        (0, "role_order"),
        (1, "role_order"),
        (2, "unknown_role"),
    ]
    assert rendered.session.tolist() == [3]


def test_a_role_that_is_not_visible_in_generation_is_not_shown() -> None:
    tokenizer = byte_tokenizer()
    roles = {"note": Role("note", visible_in_generation=False)}
    session = [user("u"), {"role": "note", "content": "hidden"}, assistant("a")]
    rendered = renderer("chatml", tokenizer, roles=roles).render(table(session))
    assert "hidden" not in texts(rendered, tokenizer)[0]
    assert rendered.span_message.tolist() == [2]  # counted in the session


def test_the_other_builtin_templates_keep_their_stops() -> None:
    for name, specials, stop in (
        ("llama3", ["<s>", "</s>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"], "<|eot_id|>"),
        ("zephyr", ["<s>", "</s>", "<|user|>", "<|assistant|>"], "</s>"),
    ):
        tokenizer = byte_tokenizer(specials, bos_token="<s>", eos_token="</s>")
        ask = renderer(name, tokenizer)
        assert report_on(ask).stop_tokens == (stop,)
        rendered = ask.render(table([user("u"), assistant("a"), user("u"), assistant("b")]))
        assert trained(rendered, tokenizer) == [[f"a{stop}", f"b{stop}"]]
