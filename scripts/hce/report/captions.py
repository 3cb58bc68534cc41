"""The captions in workflow/report: templates of a run's words, in reStructuredText."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from jinja2 import Environment, StrictUndefined


def render_caption(template: str, config: Mapping[str, Any], words: Mapping[str, str]) -> str:
    """Fills a caption in as Snakemake's report does, except that a missing word is an error.

    Args:
        template: a caption in workflow/report.
        config: the resolved config.
        words: see `words.caption_words`.

    Returns:
        reStructuredText.

    Raises:
        jinja2.UndefinedError: the caption names a word that is not known.
    """
    # Only text is filled in; what becomes of it in HTML is escaped by docutils.
    environment = Environment(trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    params = SimpleNamespace(words=words)
    filled = SimpleNamespace(config=config, params=params)
    return environment.from_string(template).render(snakemake=filled)
