"""What a recipe's cleaning does to a whole build: replaced, set aside, counted, and nothing else touched."""

from __future__ import annotations

from collections.abc import Callable

from builds_read import items_of
from small_recipes import Project, json_lines, question_rows, web_rows

New = Callable[..., Project]


def tokens_of(project: Project) -> dict[tuple[str, str], int]:
    return {(source, item): row["num_tokens"] for (_, source, item), row in items_of(project.out).items()}


def test_personal_data_is_replaced_in_texts_and_sessions_and_counted_by_kind_and_source(
    new_project: New,
) -> None:
    pages, questions = web_rows(), question_rows()
    pages[4]["text"] += " Write to captain@harbour.example.org or call +44 20 7946 0958."
    questions[6]["messages"][1]["content"] = (
        "Ask first@mate.example.org, second@mate.example.org and 8.8.4.4."
    )
    plain, private = new_project(), new_project(cleaning={"personal_data": {"ip": None}})
    for project in (plain, private):
        project.file("data/web.jsonl", json_lines(pages))
        project.file("data/questions.jsonl", json_lines(questions))
        project.built()
    sources = private.manifest["sources"]
    assert sources["web"]["personal_data"] == {"email": 1, "phone": 1}
    assert sources["questions"]["personal_data"] == {"email": 2}
    assert sources["books"]["personal_data"] == sources["talks"]["personal_data"] == {}
    messages = {row["item"]: row["messages"] for row in items_of(private.out).values() if row["messages"]}
    assert "Ask [email], [email] and 8.8.4.4." in messages["q6"]
    before, after = tokens_of(plain), tokens_of(private)
    assert before.keys() == after.keys(), "ids and provenance stay"
    assert {key for key in before if before[key] != after[key]} == {("web", "page-4"), ("questions", "q6")}
    assert private.run("verify", private.out).exit_code == 0


def test_a_replacement_that_is_personal_data_itself_is_refused(new_project: New) -> None:
    result = new_project(cleaning={"personal_data": {"email": "a@b.org"}}).build()
    assert result.exit_code == 2 and "cleaning.personal_data.email" in result.stderr
