"""Put one split of CPM17 where cpm17_train and cpm17_test are looked up.

From the published form, PNG images and MATLAB labels (``inst_map``), paired by name:

    python datasets/prepare_cpm17.py --split train --images cpm17/train/Images \\
        --labels cpm17/train/Labels

Writes below --output: cpm17/annotations/cpm17_SPLIT.json and cpm17/SPLIT/images (links to the
images, copies where links are not possible).
"""

from __future__ import annotations

from functools import partial

from selfsam_d2.engine.prepare_dataset import prepare_from_label_folder
from selfsam_d2.errors import run_command

if __name__ == "__main__":
    run_command(partial(prepare_from_label_folder, "cpm17", __doc__))
