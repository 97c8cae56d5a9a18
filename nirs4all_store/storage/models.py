"""The tables of a workspace as classes that SQLAlchemy maps; they have no methods.

Only the migrations make the tables; a test compares both, column by column. Foreign keys are declared for database
servers, and are not made in DuckDB, where they make an atomic deletion impossible (docs/decisions/0001).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import ARRAY, JSON, BigInteger, DateTime, Double, ForeignKeyConstraint, Integer, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

Json = JSON(none_as_null=True)
DoubleList = ARRAY(Double)
TextList = ARRAY(String)


class Base(DeclarativeBase):
    """The declarative base of SQLAlchemy; `Base.metadata` is the schema of the newest revision."""

    type_annotation_map: ClassVar = {
        str: String,
        int: Integer,
        float: Double,
        datetime: DateTime,
        dict[str, Any]: Json,
        list[Any]: Json,
    }


def _parent(column: str, parent: str) -> ForeignKeyConstraint:
    return ForeignKeyConstraint([column], [parent]).ddl_if(dialect="postgresql")


class Run(Base):
    """A run: an experiment with several pipelines.

    `owner` is the process that runs it, or ran it last (see `process_identity.py`).
    """

    __tablename__ = "runs"

    run_id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    config: Mapped[dict[str, Any] | None]
    datasets: Mapped[list[Any] | None]
    status: Mapped[str]
    created_at: Mapped[datetime]
    completed_at: Mapped[datetime | None]
    summary: Mapped[dict[str, Any] | None]
    error: Mapped[str | None]
    owner: Mapped[dict[str, Any] | None]


class Dataset(Base):
    """Data that pipelines are trained on: what they are of, and hashes by which they are known.

    One whose data were given is known by `content_hash` and `target_names`; one of which only a name was told, by
    `name` and `content_hash`, which may be any text then. `samples_artifact` is a Parquet file with the samples' names,
    groups, weights, metadata and references. `spectra_artifact`, one for each `x_hash`, has the spectra where they are
    kept. All other columns are descriptions that can be corrected (docs/decisions/0022).
    """

    __tablename__ = "datasets"
    __table_args__ = (
        _parent("samples_artifact", "artifacts.artifact_id"),
        _parent("spectra_artifact", "artifacts.artifact_id"),
    )

    dataset_id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    content_hash: Mapped[str | None]
    x_hash: Mapped[str | None]
    y_hash: Mapped[str | None]
    target_names: Mapped[list[Any] | None]
    units: Mapped[dict[str, Any] | None]
    task_type: Mapped[str | None]
    n_samples: Mapped[int | None]
    n_features: Mapped[int | None]
    wavelengths: Mapped[list[Any] | None]
    wavelength_unit: Mapped[str | None]
    origin: Mapped[str | None]
    metadata_columns: Mapped[list[Any] | None]
    split: Mapped[dict[str, Any] | None]
    samples_artifact: Mapped[str | None]
    spectra_artifact: Mapped[str | None]
    created_at: Mapped[datetime]


class Pipeline(Base):
    """One pipeline that was trained on one dataset within a run.

    `original_template` is the configuration as its author wrote it, of which `expanded_config` is one of many; NULL:
    unknown.
    `judged_by` says how its predictions were judged: `splitter`, `folds` (a hash of them), `n_repeats`, `targets`.
    """

    __tablename__ = "pipelines"
    __table_args__ = (_parent("run_id", "runs.run_id"), _parent("dataset_id", "datasets.dataset_id"))

    pipeline_id: Mapped[str] = mapped_column(primary_key=True)
    run_id: Mapped[str]
    name: Mapped[str]
    expanded_config: Mapped[dict[str, Any] | None]
    generator_choices: Mapped[list[Any] | None]
    dataset_name: Mapped[str]
    dataset_hash: Mapped[str | None]
    status: Mapped[str]
    created_at: Mapped[datetime]
    completed_at: Mapped[datetime | None]
    best_val: Mapped[float | None]
    best_test: Mapped[float | None]
    metric: Mapped[str | None]
    duration_ms: Mapped[int | None] = mapped_column(BigInteger)
    error: Mapped[str | None]
    original_template: Mapped[list[Any] | None]
    judged_by: Mapped[dict[str, Any] | None]
    dataset_id: Mapped[str | None]


class Chain(Base):
    """A chain: the steps from X to y of one model, and the fitted objects of each step.

    `predict_fold` is the key of `fold_artifacts` whose model predicts; NULL: the models of all folds together.
    `attachments` are other objects that belong to it, by their role. `refit_of` is the chain of which this is a refit,
    which may be deleted since.
    """

    __tablename__ = "chains"
    __table_args__ = (_parent("pipeline_id", "pipelines.pipeline_id"),)

    chain_id: Mapped[str] = mapped_column(primary_key=True)
    pipeline_id: Mapped[str]
    steps: Mapped[list[Any]]
    model_step_idx: Mapped[int]
    model_class: Mapped[str]
    preprocessings: Mapped[str | None]
    fold_strategy: Mapped[str | None]
    fold_artifacts: Mapped[dict[str, Any] | None]
    shared_artifacts: Mapped[dict[str, Any] | None]
    branch_path: Mapped[list[Any] | None]
    source_index: Mapped[int | None]
    created_at: Mapped[datetime]
    attachments: Mapped[dict[str, Any] | None]
    predict_fold: Mapped[str | None]
    refit_of: Mapped[str | None]
    verification: Mapped[dict[str, Any] | None]


class Prediction(Base):
    """The scores of one model on one partition of one fold.

    `repeat` counts the repeats of a repeated cross-validation from 0 on; NULL: there was one only, or nobody knows.
    """

    __tablename__ = "predictions"
    __table_args__ = (
        _parent("pipeline_id", "pipelines.pipeline_id"),
        _parent("chain_id", "chains.chain_id"),
    )

    prediction_id: Mapped[str] = mapped_column(primary_key=True)
    pipeline_id: Mapped[str]
    chain_id: Mapped[str | None]
    dataset_name: Mapped[str]
    model_name: Mapped[str]
    model_class: Mapped[str]
    fold_id: Mapped[str]
    partition: Mapped[str]
    val_score: Mapped[float | None]
    test_score: Mapped[float | None]
    train_score: Mapped[float | None]
    metric: Mapped[str]
    task_type: Mapped[str]
    n_samples: Mapped[int | None]
    n_features: Mapped[int | None]
    scores: Mapped[dict[str, Any] | None]
    best_params: Mapped[dict[str, Any] | None]
    preprocessings: Mapped[str | None]
    branch_id: Mapped[int | None]
    branch_name: Mapped[str | None]
    exclusion_count: Mapped[int | None]
    exclusion_rate: Mapped[float | None]
    refit_context: Mapped[str | None]
    created_at: Mapped[datetime]
    repeat: Mapped[int | None]


class PredictionArrays(Base):
    """The arrays of one prediction; `array_columns.py` says how they are stored."""

    __tablename__ = "prediction_arrays"
    __table_args__ = (_parent("prediction_id", "predictions.prediction_id"),)

    prediction_id: Mapped[str] = mapped_column(primary_key=True)
    y_true: Mapped[Any] = mapped_column(DoubleList, nullable=True)
    y_pred: Mapped[Any] = mapped_column(DoubleList, nullable=True)
    y_proba: Mapped[Any] = mapped_column(DoubleList, nullable=True)
    sample_indices: Mapped[Any] = mapped_column(ARRAY(BigInteger), nullable=True)
    weights: Mapped[Any] = mapped_column(DoubleList, nullable=True)
    y_true_text: Mapped[Any] = mapped_column(TextList, nullable=True)
    y_pred_text: Mapped[Any] = mapped_column(TextList, nullable=True)
    y_proba_text: Mapped[Any] = mapped_column(TextList, nullable=True)
    sample_indices_text: Mapped[Any] = mapped_column(TextList, nullable=True)
    weights_text: Mapped[Any] = mapped_column(TextList, nullable=True)
    layout: Mapped[dict[str, Any] | None]


class Artifact(Base):
    """A fitted object, whose bytes are in a file.

    `ref_count` is the number of saves that no chain has claimed yet (`unclaimed`) plus the number of chains that use
    the object (docs/decisions/0003). `saved_at` is the time of the last save. `provenance` has the versions of Python
    and packages with which it was made. `trust` is NULL for an object that this workspace has saved itself. For an
    imported one, it is what a user has said: true, or the list of the types that it may import (docs/decisions/0009).
    """

    __tablename__ = "artifacts"

    artifact_id: Mapped[str] = mapped_column(primary_key=True)
    artifact_path: Mapped[str]
    content_hash: Mapped[str]
    operator_class: Mapped[str | None]
    artifact_type: Mapped[str | None]
    format: Mapped[str]
    size_bytes: Mapped[int | None] = mapped_column(BigInteger)
    ref_count: Mapped[int]
    unclaimed: Mapped[int]
    saved_at: Mapped[datetime]
    provenance: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime]
    trust: Mapped[bool | list[Any] | None] = mapped_column(Json)


class Log(Base):
    """A log line: one event of one step of a pipeline."""

    __tablename__ = "logs"
    __table_args__ = (_parent("pipeline_id", "pipelines.pipeline_id"),)

    log_id: Mapped[str] = mapped_column(primary_key=True)
    pipeline_id: Mapped[str]
    step_idx: Mapped[int]
    operator_class: Mapped[str | None]
    event: Mapped[str]
    duration_ms: Mapped[int | None] = mapped_column(BigInteger)
    message: Mapped[str | None]
    details: Mapped[dict[str, Any] | None]
    level: Mapped[str]
    created_at: Mapped[datetime]


class Label(Base):
    """A name for what belongs together.

    `kind` is `project`, `tag`, `star` or `note`. `name` is what it is called; a note's text is its `description`.
    """

    __tablename__ = "labels"

    label_id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    name: Mapped[str]
    description: Mapped[str | None]
    color: Mapped[str | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class LabelLink(Base):
    """Says that a run, pipeline, chain or dataset has a label; `owner_kind` is one of these words."""

    __tablename__ = "label_links"
    __table_args__ = (_parent("label_id", "labels.label_id"),)

    link_id: Mapped[str] = mapped_column(primary_key=True)
    label_id: Mapped[str]
    owner_kind: Mapped[str]
    owner_id: Mapped[str]
    created_at: Mapped[datetime]


class Result(Base):
    """A document about a run, pipeline, chain or prediction: a calibration, a search, a test of robustness.

    `document` is kept as it was given, character by character. `fingerprint` is the SHA-256 of its UTF-8.
    """

    __tablename__ = "results"
    __table_args__ = (
        _parent("run_id", "runs.run_id"),
        _parent("pipeline_id", "pipelines.pipeline_id"),
        _parent("chain_id", "chains.chain_id"),
        _parent("prediction_id", "predictions.prediction_id"),
    )

    result_id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    name: Mapped[str | None]
    run_id: Mapped[str | None]
    pipeline_id: Mapped[str | None]
    chain_id: Mapped[str | None]
    prediction_id: Mapped[str | None]
    fingerprint: Mapped[str]
    document: Mapped[str]
    details: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime]
