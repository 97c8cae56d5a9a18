"""Which preprocessing and how many components predict glucose best? Twelve pipelines, ranked, two at a time."""

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
    data = {"X": spectra.to_numpy(), "y": glucose["glucose"].to_numpy(), "name": "fermentation"}
    ranked = PipelineRunner("sweep", n_jobs=2).run(CONFIG, data, resume=True)
    best = ranked.filter(fold_id="avg", partition="val")
    print(best.select("preprocessings", "best_params", "val_score", "train_score").head(5))


if __name__ == "__main__":
    main()
