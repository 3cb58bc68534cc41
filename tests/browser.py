"""A headless browser, in which the pages of a run are tested."""

import os
import shutil
from importlib.resources import files

import pytest


@pytest.fixture(scope="module")  # while it is open, no other test of the process can use asyncio
def chromium():
    """A headless Chromium, where the machine has one."""
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip(f"no browser on this machine ({', '.join(names)})")
    driver = pytest.importorskip("playwright.sync_api")
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with driver.sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=path, args=arguments)
        except driver.Error as error:  # such as a wrapper that asks for another package
            pytest.skip(f"{path} does not start: {error.message.splitlines()[0]}")
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium):
    """Opens a file without a network; in the end nothing may have been logged or asked for."""
    troubles, contexts = [], []

    def go(file, address="", **options):
        contexts.append(chromium.new_context(offline=True, **options))
        page = contexts[-1].new_page()
        page.set_default_timeout(60_000)
        page.on("console", lambda message: troubles.append(message.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("request", lambda r: troubles.append(r.url) if r.url[:5] not in LOCAL else None)
        page.goto(file.as_uri() + address)
        return page

    yield go
    for context in contexts:
        context.close()
    assert troubles == []


@pytest.fixture(scope="session")
def barriers():
    """What axe-core finds on a page that keeps somebody from using it, in words."""
    pytest.importorskip("axe_playwright_python")
    axe = (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")

    def find(page):
        page.evaluate(axe)
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{rule['id']}: {node['html'][:150]}"
            for rule in found["violations"]
            if rule["impact"] in ("serious", "critical")
            for node in rule["nodes"]
        ]

    return find


# What a page may ask for: itself, and what it holds.
LOCAL = ("file:", "data:")
