"""The words in which the demonstration asks about the library, each written by hand.

A frame is a format string over `name`, `module`, `owner`, `kind` and `task`. Which frame a question gets is
drawn by a stable hash of the name it asks about, in `demo.conversation`; here are only the words.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Frames:
    """One language's frames, by what the question is after."""

    kinds: dict[str, str]  # the word for module | function | class | method
    about_module: tuple[str, ...]
    purpose: tuple[str, ...]
    signature: tuple[str, ...]
    defaults: tuple[str, ...]
    finder: tuple[str, ...]  # {task}: an imperative such as "delete a directory tree"
    finder_quoted: tuple[str, ...]  # {task}: the summary line as it is
    found: tuple[str, ...]  # opens the answer to a finder question; the signature follows
    then_purpose: tuple[str, ...]  # the rest ask about what the turn before named
    then_signature: tuple[str, ...]
    then_defaults: tuple[str, ...]
    then_more: tuple[str, ...]
    then_neighbours: tuple[str, ...]
    then_code: tuple[str, ...]
    lead: tuple[str, ...]  # before documentation in another language than the question's
    parameter: dict[str, str]  # required | default | star | stars, over {name} and {default}
    neighbours: str  # opens a list of names

    def openings(self) -> tuple[str, ...]:
        """Every frame that may open a session."""
        return (
            *self.about_module,
            *self.purpose,
            *self.signature,
            *self.defaults,
            *self.finder,
            *self.finder_quoted,
        )


ENGLISH = Frames(
    kinds={"module": "module", "function": "function", "class": "class", "method": "method"},
    about_module=(
        "What is the `{name}` module for?",
        "I keep seeing `import {name}`. What does that module offer?",
        "Give me a short introduction to Python's `{name}`.",
        "When would I reach for the `{name}` module?",
        "Describe the standard library module `{name}`.",
    ),
    purpose=(
        "What does `{name}` do?",
        "Explain `{name}` to me.",
        "In Python's standard library, what is `{name}` for?",
        "I came across `{name}` in some code. What is it?",
        "Can you summarise the documentation of `{name}`?",
        "Remind me what the {kind} `{name}` does.",
        "What would I use `{name}` for?",
        "How does the documentation describe `{name}`?",
        "Tell me about `{name}`.",
        "A colleague suggested `{name}`. What does it do?",
        "`{name}`: what is that {kind} about?",
        "I'm reading `{module}` and got stuck at `{name}`. What is its job?",
        "Quick question: what happens with `{name}`?",
        "Please describe the {kind} `{name}`.",
    ),
    signature=(
        "What is the signature of `{name}`?",
        "How do I call `{name}`?",
        "Which arguments does `{name}` take?",
        "Write down the call of `{name}` with all its parameters.",
        "I forgot the parameters of `{name}`. What are they?",
        "Show the definition line of `{name}`.",
    ),
    defaults=(
        "Show me the parameters of `{name}` and their defaults.",
        "Which parameters of `{name}` can I leave out?",
        "What are the default values in `{name}`?",
        "List every parameter of `{name}`, required or optional.",
        "If I pass only what I must to `{name}`, what are the other parameters set to?",
    ),
    finder=(
        "Which {kind} in `{owner}` should I call to {task}?",
        "I need to {task}. What does `{owner}` have for that?",
        "With `{owner}`, how can I {task}?",
        "Is there a {kind} in `{owner}` to {task}?",
        "What's the name of the {kind} in `{owner}` that is there to {task}?",
    ),
    finder_quoted=(
        'Which {kind} in `{owner}` is documented as "{task}"?',
        'The documentation of `{owner}` has a {kind} described as "{task}". Which one is it?',
        'Looking through `{owner}`: what is the {kind} that says "{task}"?',
    ),
    found=("That is `{name}`:", "Use `{name}`:", "`{name}`, which is called like this:", "It is `{name}`."),
    then_purpose=(
        "And what exactly does it do?",
        "What does its documentation say?",
        "Good. Explain what it does.",
    ),
    then_signature=(
        "And its signature?",
        "How is it called?",
        "What arguments does it take?",
        "Show me the definition line, please.",
        "Thanks. How would I write the call?",
    ),
    then_defaults=(
        "Which of those have defaults?",
        "What are the defaults?",
        "Go through the parameters one by one, please.",
    ),
    then_more=(
        "Is there more I should know about it?",
        "Go on, what else does the documentation say?",
        "Any details worth knowing?",
        "Tell me the rest.",
    ),
    then_neighbours=(
        "What else is in `{owner}`?",
        "Name a few others from `{owner}`.",
        "What would I look at next in `{owner}`?",
    ),
    then_code=(
        "How is it written?",
        "Show me its source.",
        "I learn best from code: what does the body look like?",
        "And how does the library implement that?",
        "Let me read the implementation.",
        "What happens inside?",
    ),
    lead=("",),
    parameter={
        "required": "- `{name}`: required",
        "default": "- `{name}`: defaults to `{default}`",
        "star": "- `{name}`: any further positional arguments",
        "stars": "- `{name}`: any further keyword arguments",
    },
    neighbours="`{owner}` also has:",
)

CHINESE = Frames(
    kinds={"module": "模块", "function": "函数", "class": "类", "method": "方法"},
    about_module=(
        "`{name}` 模块是做什么的？",
        "介绍一下标准库里的 `{name}`。",
        "什么时候会用到 `{name}` 这个模块？",
    ),
    purpose=(
        "`{name}` 有什么用？",
        "请解释一下 `{name}`。",
        "在代码里看到了 `{name}`，它是干什么的？",
        "Python 标准库里的{kind} `{name}` 做什么？",
        "文档里是怎么介绍 `{name}` 的？",
        "帮我查一下 `{name}` 的说明。",
    ),
    signature=(
        "`{name}` 的签名是什么？",
        "怎么调用 `{name}`？",
        "我忘了 `{name}` 有哪些参数，写给我看看。",
    ),
    defaults=(
        "列出 `{name}` 的参数和默认值。",
        "`{name}` 的哪些参数可以不写？",
        "调用 `{name}` 时，各个参数的默认值是多少？",
    ),
    finder=(
        "`{owner}` 里哪个{kind}可以用来做这件事：{task}？",
        "我想用 `{owner}` 完成“{task}”，该调用什么？",
    ),
    finder_quoted=(
        "`{owner}` 里哪个{kind}的说明是“{task}”？",
        "有个{kind}在 `{owner}` 里，文档写着“{task}”，它叫什么？",
    ),
    found=("是 `{name}`：", "可以用 `{name}`：", "它叫 `{name}`，这样调用："),
    then_purpose=("它具体做什么？", "文档里怎么说？"),
    then_signature=("它的签名呢？", "怎么调用？", "需要传哪些参数？"),
    then_defaults=("哪些参数有默认值？", "把参数逐个说一下。"),
    then_more=("还有什么要注意的吗？", "文档后面还写了什么？"),
    then_neighbours=("`{owner}` 里还有什么？", "再举几个 `{owner}` 里的例子。"),
    then_code=(
        "它是怎么写的？",
        "给我看看源码。",
        "标准库里是怎样实现的？",
        "里面做了些什么？直接看代码吧。",
    ),
    lead=("文档里的说明是：", "官方文档字符串这样写：", "按照它的文档：", "`{name}` 的说明如下："),
    parameter={
        "required": "- `{name}`：必填",
        "default": "- `{name}`：默认为 `{default}`",
        "star": "- `{name}`：其余的位置参数",
        "stars": "- `{name}`：其余的关键字参数",
    },
    neighbours="`{owner}` 里还有：",
)

# Some sessions open with one of these; most have none.
SYSTEM_PROMPTS = (
    "You answer questions about Python's standard library from its own documentation.",
    "You are a reference for Python programmers. Quote the documentation; add nothing that is not in it.",
    "Answer briefly and exactly. Code goes in code blocks.",
    "You help people read the Python standard library. Reply in the language of the question.",
    "你是一名熟悉 Python 标准库的助手，回答以官方文档字符串为准。",
)

# A summary that begins with one of these reads as "... should I call to {task}?".
_VERBS = """
add append apply attach block build calculate call cancel change check clear close compare compile
compute connect convert copy count create decode delete determine display divide draw encode escape
execute expand extend extract fetch fill find flush format forward generate get give handle insert
install issue iterate join list load lock log look make map mark merge move normalize open pack
parse perform pop prepare print process push put query raise read receive record register release
remove rename render replace report reset resize resolve restore retrieve return reverse rotate run
save scan schedule search seek select send serialize set show shut shutdown skip sort split start
stop store strip suspend switch take terminate test transform translate truncate try turn undo
unescape unlock unpack unregister update use validate verify wait walk wrap write
"""
IMPERATIVES = frozenset(_VERBS.split())
