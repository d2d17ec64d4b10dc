"""TensorBoard of a real run, opened in headless Chromium: curves and pictures are on its pages (slow)."""

import io
import json
import re
import shutil
import subprocess
import sys
import time
from urllib.parse import urlencode
from urllib.request import urlopen

import numpy as np
import pytest
from PIL import Image

from configs.taxonomy import load_taxonomy
from tests.runs import SMALL

pytestmark = pytest.mark.slow

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PICTURES = {
    "train": {"pictures/augmentation"},
    "validation": {"pictures/confusion matrix", "pictures/validation images"},
}
PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def browser():
    """The path of a Chromium, or a skip."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    return found or pytest.skip(f"none of {', '.join(BROWSERS)} is installed (Debian: apt-get install chromium)")


@pytest.fixture(scope="module")
def address(browser, tensorflow_ready, tiny_records, tmp_path_factory):
    """Where a TensorBoard shows a run of two epochs, all of whose events it has read."""
    from model.train import main

    run = tmp_path_factory.mktemp("runs") / "seen"
    main(["--data", str(tiny_records), "--run", str(run), *SMALL])
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(run / "tensorboard")]
    with subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", "0"], stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            address = next(found[0] for line in process.stderr if (found := re.search(r"http://[\w.:]+", line)))
            wait_for_pictures(address)
            yield address
        finally:
            process.terminate()


def wait_for_pictures(address):
    end = time.monotonic() + PATIENCE_S
    while {half: set(tags) for half, tags in fetch_json(address, "images/tags").items()} != PICTURES:
        assert time.monotonic() < end, f"TensorBoard has {fetch_json(address, 'images/tags')}"
        time.sleep(0.2)


def fetch(address, path, **query):
    with urlopen(f"{address}/data/plugin/{path}?{urlencode(query)}", timeout=PATIENCE_S) as answer:
        return answer.read()


def fetch_json(address, path, **query):
    return json.loads(fetch(address, path, **query))


def picture_of(encoded):
    return np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))


def browse(browser, page, profile, *what):
    """Open a page, let its own clock go on for 15 seconds, and do what the flags say."""
    # Without WebGL the curves are drawn as SVG: sooner, and as paths that can be read from the page.
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-3d-apis", "--hide-scrollbars"]
    command = [
        browser,
        *flags,
        f"--user-data-dir={profile}",
        "--window-size=1600,2400",
        "--virtual-time-budget=15000",
        *what,
        page,
    ]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=3 * PATIENCE_S)
    return done.stdout


def screenshot(browser, page, folder):
    """The page as uint8 (2400, 1600, 3); the PNG stays in the test's folder, to be looked at."""
    browse(browser, page, folder / "profile", f"--screenshot={folder / 'page.png'}")
    return np.asarray(Image.open(folder / "page.png").convert("RGB"))


def pixels_of(picture, color):
    return int(np.all(picture == color, axis=-1).sum())


def class_colors():
    return {entry.name: entry.color for entry in load_taxonomy("camvid11").classes}


def test_the_first_page_shows_loss_and_miou_as_curves(browser, address, tmp_path):
    page = screenshot(browser, f"{address}/#timeseries", tmp_path)
    assert len(np.unique(page.reshape(-1, 3), axis=0)) > 100  # a page without content has about ten
    dom = browse(browser, f"{address}/#timeseries", tmp_path / "profile", "--dump-dom")
    # Groups in their order; loss and miou are unfolded, and their cards have a row for each half of the run.
    groups = re.findall(r'class="group-title" title="([^"]+)"', dom)
    assert groups == ["loss", "miou", "per_class_iou", "pictures", "run"]
    cards = re.findall(r"<scalar-card.*?</scalar-card>", dom, re.DOTALL)
    assert [re.search(r'class="tag"[^>]*title="([^"]+)"', card)[1] for card in cards] == ["loss", "miou"]
    for card in cards:
        strokes = re.findall(r'<path d="M[^"]+L[^"]+" style="fill: none; stroke: (rgb[^;]+);', card)
        assert len(set(strokes)) == 2, "a curve of training and one of validation, each as it is and smoothed"
        assert "train" in card
        assert "validation" in card


def test_the_images_page_shows_masks_in_the_taxonomys_colours_and_mistakes_in_red(browser, address, tmp_path):
    page = screenshot(browser, f"{address}/#images", tmp_path)
    colors = class_colors()
    assert pixels_of(page, colors["road"]) > 1000
    assert pixels_of(page, colors["sky"]) > 1000
    assert pixels_of(page, (235, 30, 30)) > 1000


def test_the_pictures_of_both_evaluations_are_served(address):
    road = class_colors()["road"]
    for tag, shows_road in (("pictures/validation images", True), ("pictures/confusion matrix", False)):
        listed = fetch_json(address, "images/images", run="validation", tag=tag, sample=0)
        assert [entry["step"] for entry in listed] == [3, 6]
        for entry in listed:
            with urlopen(f"{address}/data/plugin/images/individualImage?{entry['query']}", timeout=PATIENCE_S) as png:
                picture = picture_of(png.read())
            assert min(picture.shape[:2]) > 300
            assert (pixels_of(picture, road) > 1000) == shows_road


def test_every_curve_has_a_point_for_each_epoch_and_an_explanation(address):
    tags = fetch_json(address, "scalars/tags")
    assert {"loss", "miou", "per_class_iou/road"} <= set(tags["validation"])
    assert {"loss", "miou", "run/learning_rate", "run/data_wait", "run/images_per_second"} <= set(tags["train"])
    for half, described in tags.items():
        assert all(entry["description"] for entry in described.values())
        points = fetch_json(address, "scalars/scalars", run=half, tag="loss")
        assert [step for _, step, _ in points] == [3, 6]
