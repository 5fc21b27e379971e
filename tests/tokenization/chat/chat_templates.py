"""Small templates, each with one habit of the ones people use."""

CHATML = """{%- for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{%- endif %}"""

# Qwen3's habit: a think block in the last turn, dropped from earlier ones.
THINKING = """{%- set ns = namespace(last=-1) %}
{%- for m in messages %}{%- if m.role == 'user' %}{%- set ns.last = loop.index0 %}{%- endif %}{%- endfor %}
{%- for m in messages %}
{{- '<|im_start|>' + m.role + '\\n' }}
{%- if m.role == 'assistant' and loop.index0 > ns.last %}
{{- '<think>\\n' + (m.reasoning_content or '') + '\\n</think>\\n\\n' }}
{%- endif %}
{{- m.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}
{%- if no_thinking %}{{ '<think>\\n\\n</think>\\n\\n' }}{%- endif %}{%- endif %}"""

# minimind's: the think block always stands there, and by default the prompt supplies an empty one.
ALWAYS_THINKING = """{%- for m in messages %}
{{- '<|im_start|>' + m.role + '\\n' }}
{%- if m.role == 'assistant' %}{{- '<think>\\n' + (m.reasoning_content or '') + '\\n</think>\\n\\n' }}{%- endif %}
{{- m.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n<think>\\n' }}
{%- if not open_thinking %}{{ '\\n</think>\\n\\n' }}{%- endif %}{%- endif %}"""

# GLM's: the next turn's marker ends an answer.
NEXT_MARKER = """{%- for m in messages %}
{{- '<|' + m.role + '|>\\n' + m.content }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|assistant|>\\n' }}{%- endif %}"""

# Mistral's: the system prompt stands in the last user's turn, and only while it is the last.
SYSTEM_IN_LAST_USER = """{%- set ns = namespace(system='') %}
{%- for m in messages %}
{%- if m.role == 'system' %}{%- set ns.system = m.content %}
{%- elif m.role == 'user' %}
{{- '[INST] ' + ((ns.system + '\\n\\n') if loop.last and ns.system else '') + m.content + '[/INST]' }}
{%- else %}{{- ' ' + (m.content | trim) + eos_token }}{%- endif %}
{%- endfor %}"""

# Llama 3's: everything is trimmed, BOS stands in the first turn.
TRIMMING = """{%- for m in messages %}
{%- set text = '<|im_start|>' + m['role'] + '\\n' + m['content'] | trim + '<|im_end|>' %}
{{- (bos_token + text) if loop.first else text }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{%- endif %}"""

# It looks into what people wrote.
NOSY = """{%- for m in messages %}
{{- '<|im_start|>' + m.role + '\\n' }}
{%- if 'secret' in m.content %}{{- '[redacted]\\n' }}{%- endif %}
{%- if m.content.startswith('/') %}{{- '[command]\\n' }}{%- endif %}
{{- m.content.split('##')[-1] | trim }}
{{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{%- endif %}"""

# It measures it.
COUNTING = """{%- for m in messages %}
{{- '<|im_start|>' + m.role + ' ' ~ (m.content | length) ~ '\\n' + m.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant ' }}{%- endif %}"""

# It treats short texts otherwise than long ones.
MEASURING = """{%- for m in messages %}
{{- '<|im_start|>' + m.role + '\\n' }}
{%- if m.content | length > 4 %}{{- '[long]\\n' }}{%- endif %}
{{- m.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{%- endif %}"""

# It looks at the beginning of texts, and at them in small letters.
SLICING = """{%- for m in messages %}
{{- '<|im_start|>' + m.role + '\\n' }}
{%- if m.content[:1] == '/' or (m.content | lower) == 'secret' %}{{- '[odd]\\n' }}{%- endif %}
{{- m.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{%- endif %}"""

# It writes texts in two pieces.
PARTING = """{%- for m in messages %}
{{- '<|im_start|>' + m.role + '\\n' + m.content[:2] ~ m.content[2:] + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{%- endif %}"""

# It marks only the words, not the stop.
MARKED_WITHOUT_STOP = """{%- for m in messages %}
{{- '<|im_start|>' + m.role + '\\n' }}
{%- if m.role == 'assistant' %}{%- generation %}{{- m.content }}{%- endgeneration %}
{%- else %}{{- m.content }}{%- endif %}
{{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{%- endif %}"""

# It drops what it does not know.
SELECTIVE = """{%- for m in messages %}
{%- if m.role in ['system', 'user', 'assistant'] %}
{{- '<|im_start|>' + m.role + '\\n' + m.content[:40] + '<|im_end|>\\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{%- endif %}"""

EVERY = {
    "chatml": CHATML,
    "thinking": THINKING,
    "always_thinking": ALWAYS_THINKING,
    "next_marker": NEXT_MARKER,
    "system_in_last_user": SYSTEM_IN_LAST_USER,
    "trimming": TRIMMING,
    "nosy": NOSY,
    "counting": COUNTING,
    "measuring": MEASURING,
    "slicing": SLICING,
    "parting": PARTING,
    "marked_without_stop": MARKED_WITHOUT_STOP,
    "selective": SELECTIVE,
}
MARKERS = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<think>",
    "</think>",
    "<tool_call>",
    "</tool_call>",
    "<s>",
    "</s>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|tool|>",
]
