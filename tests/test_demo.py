"""The demo as a person runs it: three commands without another flag, then the report (slow)."""

import json

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.slow


def test_the_readmes_commands_reach_the_demos_score_on_a_fresh_folder(run_cli, tmp_path):
    built = run_cli("beam_jobs.build_records", "--runner", "DirectRunner", cwd=tmp_path)
    assert built.returncode == 0, built.stderr
    assert "no --input: using the sample data set in data/sample" in built.stdout
    assert "240 records in data/records" in built.stdout
    trained = run_cli("model.train", "--strategy", "mirrored", cwd=tmp_path, timeout_s=1500)
    assert trained.returncode == 0, trained.stderr
    assert (tmp_path / "runs" / "demo" / "tensorboard").is_dir()
    scored = run_cli("model.evaluate", "--run", "runs/demo", "--split", "val", cwd=tmp_path)
    assert scored.returncode == 0, scored.stderr
    report = json.loads((tmp_path / "runs/demo/report/report.json").read_text())
    assert report["images"] == 48
    assert report["mean_iou"] >= 0.80
    drive = "data/sample/leftImg8bit/val/drive04"
    predicted = run_cli(
        "model.predict", "--run", "runs/demo", "--input", drive, "--output", "predictions", cwd=tmp_path
    )
    assert predicted.returncode == 0, predicted.stderr
    ids = np.asarray(Image.open(tmp_path / "predictions/ids/frame0000_leftImg8bit.png"))
    assert ids.shape == (192, 320)
