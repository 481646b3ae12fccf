"""Names that flags of evaluation and export allow, here because flags are parsed before the code behind them is imported."""

EVALUATORS = (
    "nearest_neighbours",
    "weighted_neighbours",
    "class_means",
    "logistic_regression",
    "label_spreading",
    "logistic_regression_all_labels",
)
SPLITS = ("test", "validation")
PROTOCOLS = ("linear", "semi_supervised")
TRANSFER = "transfer"

DTYPES = ("float32", "bfloat16", "float16", "int8")
VOTE, CLASS_MEANS, LOGISTIC_REGRESSION = "vote", "class_means", "logistic_regression"
ANSWERS = (VOTE, CLASS_MEANS, LOGISTIC_REGRESSION)
AUTO = "auto"
