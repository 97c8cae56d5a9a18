CREATE TABLE alembic_version(version_num VARCHAR,
    PRIMARY KEY(version_num));
CREATE TABLE runs(run_id VARCHAR PRIMARY KEY,
    "name" VARCHAR NOT NULL,
    config JSON,
    datasets JSON,
    status VARCHAR DEFAULT('running'),
    created_at TIMESTAMP DEFAULT(current_timestamp),
    completed_at TIMESTAMP,
    summary JSON,
    "error" VARCHAR);
CREATE TABLE pipelines(pipeline_id VARCHAR PRIMARY KEY,
    run_id VARCHAR NOT NULL,
    "name" VARCHAR NOT NULL,
    expanded_config JSON,
    generator_choices JSON,
    dataset_name VARCHAR NOT NULL,
    dataset_hash VARCHAR,
    status VARCHAR DEFAULT('running'),
    created_at TIMESTAMP DEFAULT(current_timestamp),
    completed_at TIMESTAMP,
    best_val DOUBLE,
    best_test DOUBLE,
    metric VARCHAR,
    duration_ms INTEGER,
    "error" VARCHAR,
    FOREIGN KEY (run_id) REFERENCES runs(run_id));
CREATE TABLE chains(chain_id VARCHAR PRIMARY KEY,
    pipeline_id VARCHAR NOT NULL,
    steps JSON NOT NULL,
    model_step_idx INTEGER NOT NULL,
    model_class VARCHAR NOT NULL,
    preprocessings VARCHAR DEFAULT(''),
    fold_strategy VARCHAR DEFAULT('per_fold'),
    fold_artifacts JSON,
    shared_artifacts JSON,
    branch_path JSON,
    source_index INTEGER,
    created_at TIMESTAMP DEFAULT(current_timestamp),
    FOREIGN KEY (pipeline_id) REFERENCES pipelines(pipeline_id));
CREATE TABLE predictions(prediction_id VARCHAR PRIMARY KEY,
    pipeline_id VARCHAR NOT NULL,
    chain_id VARCHAR,
    dataset_name VARCHAR NOT NULL,
    model_name VARCHAR NOT NULL,
    model_class VARCHAR NOT NULL,
    fold_id VARCHAR NOT NULL,
    "partition" VARCHAR NOT NULL,
    val_score DOUBLE,
    test_score DOUBLE,
    train_score DOUBLE,
    metric VARCHAR NOT NULL,
    task_type VARCHAR NOT NULL,
    n_samples INTEGER,
    n_features INTEGER,
    scores JSON,
    best_params JSON,
    preprocessings VARCHAR DEFAULT(''),
    branch_id INTEGER,
    branch_name VARCHAR,
    exclusion_count INTEGER DEFAULT(0),
    exclusion_rate DOUBLE DEFAULT(0.0),
    refit_context VARCHAR DEFAULT(NULL),
    created_at TIMESTAMP DEFAULT(current_timestamp),
    FOREIGN KEY (pipeline_id) REFERENCES pipelines(pipeline_id),
    FOREIGN KEY (chain_id) REFERENCES chains(chain_id));
CREATE TABLE prediction_arrays(prediction_id VARCHAR PRIMARY KEY,
    y_true DOUBLE[],
    y_pred DOUBLE[],
    y_proba DOUBLE[],
    sample_indices INTEGER[],
    weights DOUBLE[],
    FOREIGN KEY (prediction_id) REFERENCES predictions(prediction_id));
CREATE TABLE artifacts(artifact_id VARCHAR PRIMARY KEY,
    artifact_path VARCHAR NOT NULL,
    content_hash VARCHAR NOT NULL,
    operator_class VARCHAR,
    artifact_type VARCHAR,
    format VARCHAR DEFAULT('joblib'),
    size_bytes BIGINT,
    ref_count INTEGER DEFAULT(1),
    chain_path_hash VARCHAR,
    input_data_hash VARCHAR,
    dataset_hash VARCHAR,
    created_at TIMESTAMP DEFAULT(current_timestamp));
CREATE TABLE logs(log_id VARCHAR PRIMARY KEY,
    pipeline_id VARCHAR NOT NULL,
    step_idx INTEGER NOT NULL,
    operator_class VARCHAR,
    "event" VARCHAR NOT NULL,
    duration_ms INTEGER,
    message VARCHAR,
    details JSON,
    "level" VARCHAR DEFAULT('info'),
    created_at TIMESTAMP DEFAULT(current_timestamp),
    FOREIGN KEY (pipeline_id) REFERENCES pipelines(pipeline_id));
CREATE INDEX idx_artifacts_cache_key ON artifacts(chain_path_hash, input_data_hash);
CREATE INDEX idx_artifacts_content_hash ON artifacts(content_hash);
CREATE INDEX idx_artifacts_dataset_hash ON artifacts(dataset_hash);
CREATE INDEX idx_chains_pipeline_id ON chains(pipeline_id);
CREATE INDEX idx_logs_pipeline_id ON logs(pipeline_id);
CREATE INDEX idx_pipelines_dataset ON pipelines(dataset_name);
CREATE INDEX idx_pipelines_run_id ON pipelines(run_id);
CREATE INDEX idx_predictions_chain_id ON predictions(chain_id);
CREATE INDEX idx_predictions_dataset ON predictions(dataset_name);
CREATE INDEX idx_predictions_partition ON predictions("partition");
CREATE INDEX idx_predictions_pipeline_id ON predictions(pipeline_id);
CREATE INDEX idx_predictions_val_score ON predictions(val_score);
CREATE UNIQUE INDEX idx_predictions_natural_key_v2 ON predictions(pipeline_id, chain_id, fold_id, "partition", model_name, branch_id);
CREATE VIEW v_aggregated_predictions AS SELECT 1;
