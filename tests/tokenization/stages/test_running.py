"""Long work says how far it is: documents, MB a second, time left; not too often, and always at its end."""

from __future__ import annotations

from tokenization.stages.running import EVERY_S, Progress


class Clock:
    """Time that stands still until it is told."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_progress_tells_documents_rate_and_time_left_at_most_once_a_second_and_at_the_end() -> None:
    heard: list[str] = []
    clock = Clock()
    progress = Progress(heard.append, "rows web", jobs=32, work_bytes=400_000_000, clock=clock)
    for _ in range(32):
        clock.now += EVERY_S / 8  # exact in binary
        progress.add(1000)
    assert heard == [
        "rows web: 8 of 32 chunks, 8,000 documents, 100.0 MB/s, 3 s left",
        "rows web: 16 of 32 chunks, 16,000 documents, 100.0 MB/s, 2 s left",
        "rows web: 24 of 32 chunks, 24,000 documents, 100.0 MB/s, 1 s left",
        "rows web: 32 of 32 chunks, 32,000 documents, 100.0 MB/s",
    ]


def test_work_without_a_size_or_documents_says_no_rate() -> None:
    heard: list[str] = []
    Progress(heard.append, "prompts", jobs=1, work_bytes=0).add(0)
    assert heard == ["prompts: 1 of 1 chunks"]
