from .config_files import find_config as find_config
from .config_files import read_config as read_config
from .pipeline_config import pipelines_of as pipelines_of
from .runner import PipelineRunner as PipelineRunner
from .template_library import PipelineLibrary as PipelineLibrary
from .trial import line_of_refusals as line_of_refusals
