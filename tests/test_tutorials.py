"""What a comparison of a page's output leaves out, and what not."""

from __future__ import annotations

from scripts.tutorials import Command, GivenFile, masked, parts

PAGE = """\
`plan.yaml`:

```yaml
a: 1
```

Text.

    $ dlbs run --plan plan.yaml
    [1/1] a: ok in 1.5 s
      logs: logs
    $ dlbs report logs

    not run
"""


def test_parts_of_a_page() -> None:
    assert list(parts(PAGE)) == [
        GivenFile("plan.yaml", "a: 1\n"),
        Command("dlbs run --plan plan.yaml", "[1/1] a: ok in 1.5 s\n  logs: logs"),
        Command("dlbs report logs", "not run"),
    ]


def test_numbers_and_their_warnings_are_masked() -> None:
    one = "[1/6] alexnet, batch 1: ok in 9.7 s, 8.6 ± 0.2 images/s ⚠ CPU contention 62 %\n⚠ 4 of 6 results are doubtful (CPU contention)"
    other = "[1/6] alexnet, batch 1: ok in 12 s, 81.6 ± 3 images/s"
    assert masked(one) == masked(other)


def test_reasons_of_a_verdict_are_masked() -> None:
    """A busy machine makes a clear difference inconclusive."""
    said = "  size=200 against size=1: inconclusive (0.44 [0.23, 1.10] times as fast)\n  inconclusive: the interval crosses a threshold, or the runs are too few or doubtful"
    assert masked(said) == []


def test_words_are_not() -> None:
    assert masked("[1/1] alexnet: ok in 1 s") != masked("[1/1] alexnet: failure in 1 s")
    assert masked("│ alexnet │ 1.5 │") != masked("│ resnet18 │ 1.5 │")
    assert masked("Throughput, images/s") != masked("Time, ms")
