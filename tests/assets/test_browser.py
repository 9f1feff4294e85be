"""The web interface in a real browser: the code location loads, a night runs from it, and what it made can be seen."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

from tests.assets.small_shop import LAST_NIGHT, copy_shop

pytestmark = pytest.mark.all
ROOT = Path(__file__).parents[2]
SETTINGS = """
[events]
path = "logs/events-{day}.jsonl*"
format = "json"
columns = { user = "user", session = "session", item = "item", time = "time", event_type = "event" }
event_types = [{ name = "view" }, { name = "cart", weight = 2 }, { name = "purchase", weight = 3 }]
identical_rows = "quarantine"
[catalogue]
path = "catalogue/catalogue-{day}.jsonl"
format = "json"
columns = { id = "id", title = "title", category = "category", price = "price" }
[nights]
first = 2026-01-01
[training]
models = { popular = "tiny", markov = "tiny" }
[recommendations]
serve = "markov"
"""
LAUNCH = """mutation($night: String!) { launchPipelineExecution(executionParams: {
    selector: { repositoryLocationName: "assets.definitions", repositoryName: "__repository__", jobName: "nightly" },
    mode: "default", executionMetadata: { tags: [{ key: "dagster/partition", value: $night }] } }) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
STATUS = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"


def wait_for(what: Callable[[], Any], seconds: float) -> Any:
    """Poll until something is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            found = what()
        except OSError:
            found = None
        if found:
            return found
        time.sleep(0.5)
    raise AssertionError(f"{what} did not come true within {seconds} s")


@pytest.fixture(scope="module")
def interface(shop_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a running web interface over a copy of the small shop."""
    folder = tmp_path_factory.mktemp("interface") / "shop"
    copy_shop(shop_folder, folder)
    (folder / "settings.toml").write_text(SETTINGS)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = os.environ | {
        "DAGSTER_HOME": str(ROOT),
        "NIGHTLY_SETTINGS": str(folder / "settings.toml"),
        "NIGHTLY_DAGSTER_STORAGE": str(folder / "dagster"),
    }
    command = [sys.executable, "-m", "dagster", "dev", "--workspace", "workspace.yaml", "--port", str(port)]
    process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: urllib.request.urlopen(f"{address}/server_info", timeout=2).status == 200, 90)
        yield address
    finally:
        process.terminate()
        process.wait(120)  # its daemon and its servers end one after the other


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    for argument in ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"):
        options.add_argument(argument)
    options.add_argument("--window-size=1600,1400")
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver"))
    yield driver
    driver.quit()


def ask(address: str, query: str, variables: dict[str, str]) -> Any:
    """Ask the interface's GraphQL."""
    body = json.dumps({"query": query, "variables": variables}).encode()
    request = urllib.request.Request(f"{address}/graphql", body, {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(request, timeout=60))["data"]


def shows(browser: webdriver.Chrome, *texts: str) -> bool:
    """Tell whether the page shows all the texts."""
    page = browser.find_element(By.TAG_NAME, "body").text
    return all(text in page for text in texts)


def test_a_night_runs_from_the_interface_and_its_assets_and_checks_are_green(
    interface: str, browser: webdriver.Chrome
) -> None:
    launched = ask(interface, LAUNCH, {"night": LAST_NIGHT.isoformat()})["launchPipelineExecution"]
    assert launched["__typename"] == "LaunchRunSuccess", launched
    run = launched["run"]["runId"]

    def status() -> str:
        return str(ask(interface, STATUS, {"id": run})["runOrError"]["status"])

    assert wait_for(lambda: status() in ("SUCCESS", "FAILURE", "CANCELED"), 240)
    assert status() == "SUCCESS"
    browser.get(f"{interface}/assets/interactions?view=overview")
    wait_for(lambda: shows(browser, "Latest materialization", "One accepted event", "who acted; null for"), 60)
    browser.get(f"{interface}/assets/interactions?view=checks")
    wait_for(lambda: shows(browser, "Checks (10)", "somebody_acts", "Passed"), 60)
    assert not shows(browser, "Failed")


def test_every_group_of_assets_is_on_the_lineage_page(interface: str, browser: webdriver.Chrome) -> None:
    browser.get(f"{interface}/asset-groups")
    assert wait_for(lambda: shows(browser, "data", "statistics", "training", "evaluation", "recommendations"), 60)
