"""Which preprocessing and how many components predict glucose best? Twelve pipelines, ranked, two at a time."""

import polars as pl
from chemotools.datasets import load_fermentation_train
from chemotools.derivative import SavitzkyGolay
from chemotools.scatter import StandardNormalVariate
from sklearn.model_selection import KFold

from nirs4all_store import PipelineRunner

CONFIG = [
    {"_or_": [None, StandardNormalVariate(), SavitzkyGolay(window_length=15, polyorder=2, deriv=1)]},
    KFold(7, shuffle=True, random_state=0),
    {
        "model": {
            "class": "sklearn.cross_decomposition.PLSRegression",
            "params": {"scale": False, "n_components": {"_range_": [2, 8, 2]}},
        }
    },
]


def main() -> None:
    """Train what is not there yet, and print the best."""
    spectra, glucose = load_fermentation_train(set_output="polars")
    informative = [name for name in spectra.columns if 950 <= float(name) <= 1500]  # Where glucose absorbs, in 1/cm.
    data = {"X": spectra.select(informative), "y": glucose["glucose"], "name": "fermentation"}
    ranked = PipelineRunner("sweep", n_jobs=2).run(CONFIG, data, resume=True)
    best = ranked.filter(fold_id="avg", partition="val")
    components = pl.col("best_params").str.json_path_match("$.n_components").alias("components")
    print(best.select("preprocessings", components, rmsecv="score").head(5))


if __name__ == "__main__":
    main()
