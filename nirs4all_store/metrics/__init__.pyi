from .names import MAIN as MAIN
from .names import MAIN_OF_SEVERAL as MAIN_OF_SEVERAL
from .names import distance_from_best as distance_from_best
from .names import lower_is_better as lower_is_better
from .scores import Scores as Scores
from .scores import scores_of as scores_of
