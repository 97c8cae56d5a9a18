"""A model leaves the workspace as one file, is looked at, and predicts where there is no workspace."""

import numpy as np
from chemotools.datasets import load_fermentation_train
from sklearn.cross_decomposition import PLSRegression
from sklearn.preprocessing import StandardScaler

from nirs4all_store import PipelineRunner, WorkspaceStore, inspect_bundle, load_bundle


def main() -> None:
    """Train, export, inspect, load, and compare with what the workspace says."""
    spectra, glucose = load_fermentation_train(set_output="polars")
    informative = [name for name in spectra.columns if 950 <= float(name) <= 1500]  # Where glucose absorbs, in 1/cm.
    X, y = spectra.select(informative).to_numpy(), glucose["glucose"].to_numpy()
    with WorkspaceStore("deployment") as store:
        config = [StandardScaler(with_std=False), {"model": PLSRegression(6, scale=False)}]
        chain_id = PipelineRunner(store).run(config, (X, y))["chain_id"][0]
        bundle = store.export_chain(chain_id, "glucose.n4a")
        expected = store.replay_chain(chain_id, X[:3])

    for item in inspect_bundle(bundle).objects:  # Nothing of the file is executed here.
        print(item.member, *item.imports)

    model = load_bundle(bundle, trusted=[StandardScaler, PLSRegression])  # These types, and nothing else.
    predicted = model.predict(X[:3])
    assert np.array_equal(predicted, expected)
    print(predicted)


if __name__ == "__main__":
    main()
