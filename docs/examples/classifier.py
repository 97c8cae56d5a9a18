"""From which country is a coffee? Two classifiers of spectra, judged by folds and by coffees that were kept apart."""

from chemotools.datasets import load_coffee
from chemotools.scatter import StandardNormalVariate
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from nirs4all_store import PipelineRunner, WorkspaceStore

CONFIG = [
    StandardNormalVariate(),
    StandardScaler(),
    {"_or_": [LogisticRegression(max_iter=2000), KNeighborsClassifier(3)]},
]


def main() -> None:
    """Train both, rank them, and show which coffees the best one takes for others."""
    spectra, labels = load_coffee(set_output="polars")
    y = labels["labels"].to_numpy().astype(str)
    X, X_test, y, y_test = train_test_split(spectra.to_numpy(), y, test_size=0.25, stratify=y, random_state=0)
    data = {"X": X, "y": y, "X_test": X_test, "y_test": y_test, "name": "coffee"}
    with WorkspaceStore("coffee") as store:
        ranked = PipelineRunner(store).run(CONFIG, data)
        print(ranked.filter(fold_id="avg", partition="val").select("model_name", "val_score", "test_score"))
        best = ranked.filter(fold_id="avg", partition="test")["prediction_id"][0]
        prediction = store.get_prediction(best, load_arrays=True)
    for true, taken_for in zip(prediction["y_true"], prediction["y_pred"], strict=True):
        if true != taken_for:
            print(f"a coffee from {true} was taken for one from {taken_for}")


if __name__ == "__main__":
    main()
