"""Files that give no backbone, each with what to export instead: the table of docs/import-formats.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.importers.errors import ImportRejected

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Refusal:
    """A kind of file that is refused."""

    code: str
    """The error's name in the API."""
    what: str
    """What the file is, after "it is": "a TorchScript archive"."""
    why: str
    """Why it is refused, or what is wrong; a sentence."""
    instead: str
    """What to send instead; a sentence."""

    def of(self, name: str, detail: str = "") -> ImportRejected:
        """Make the error for a file of this name."""
        shown = f" ({detail})" if detail else ""
        return ImportRejected(self.code, f"{name} is {self.what}{shown}. {self.why} {self.instead}")


STATE_DICT = (
    "Send its weights alone, torch.save(model.state_dict(), 'weights.pth'), and name the architecture; or export the "
    "network with torch.onnx.export(model.eval(), images, 'model.onnx') and send that."
)
ONNX = "Export it as ONNX, and send the .onnx file."
SAVED_MODEL = "Export a SavedModel (model.export(folder) in Keras, tf.saved_model.save), and send its folder as a zip."
CODE = "It holds code of its own, which Graft does not run."
AGAIN = "Download or export it again, and send it again."

TORCHSCRIPT = Refusal("torchscript", "a TorchScript archive", CODE, STATE_DICT)
PT2 = Refusal("pt2", "a torch.export archive (.pt2)", "It holds pickled objects, which may run code.", STATE_DICT)
PICKLED_MODULE = Refusal(
    "pickled_module",
    "a whole pickled PyTorch module",
    "Reading it would run code of whoever wrote it.",
    STATE_DICT,
)
PICKLE = Refusal(
    "pickle",
    "a Python pickle that is no PyTorch checkpoint",
    "Reading it would run code of whoever wrote it.",
    "Send the network's weights as safetensors or a PyTorch state_dict, or export it as ONNX.",
)
SKLEARN = Refusal(
    "sklearn_model",
    "a pickled scikit-learn or joblib object",
    "It is no neural network on images that could be fine-tuned.",
    "Send an image network: ONNX, SavedModel, TFLite, Keras, or PyTorch weights.",
)
COREML = Refusal("coreml", "a Core ML model", "Core ML's formats are not read.", f"Go back to the source: {STATE_DICT}")
CAFFE = Refusal(
    "caffe", "a Caffe model", "Caffe's formats are not read.", "Convert it to ONNX (caffe2onnx), and send that."
)
DARKNET = Refusal(
    "darknet", "a Darknet file (.weights, .cfg)", "Darknet's formats are not read.", f"{ONNX} (darknet2onnx does that.)"
)
PADDLE = Refusal("paddle", "a PaddlePaddle file", "Paddle's formats are not read.", f"{ONNX} (paddle2onnx does that.)")
MXNET = Refusal(
    "mxnet", "an MXNet file", "MXNet's formats are not read.", f"{ONNX} (mxnet.onnx.export_model does that.)"
)
FROZEN_GRAPH = Refusal(
    "frozen_graph",
    "a frozen TensorFlow 1 graph (.pb)",
    "It does not say which nodes are its input and output.",
    "Save it as a SavedModel with a signature (tf.compat.v1.saved_model.simple_save), and send its folder as a zip; or "
    "convert it by python -m tf2onnx.convert --graphdef, and send the .onnx file.",
)
LONE_SAVED_MODEL = Refusal(
    "incomplete_folder",
    "the saved_model.pb of a SavedModel alone",
    "The weights are in the folder variables beside it.",
    "Send the whole folder as a zip or tar.gz.",
)
TENSORFLOW_CHECKPOINT = Refusal(
    "tensorflow_checkpoint",
    "a TensorFlow checkpoint (.index, .data)",
    "It holds numbers without the network.",
    SAVED_MODEL,
)
TENSORFLOW_JS = Refusal("tensorflow_js", "a TensorFlow.js model", "Its format is not read.", SAVED_MODEL)
KERAS_JSON = Refusal(
    "architecture_only",
    "the JSON of a network's architecture alone",
    "It holds no weights.",
    "Send the whole network: model.save('model.keras').",
)
NCNN = Refusal("ncnn", "an ncnn file", "ncnn's format is not read.", f"Go back to the source: {STATE_DICT}")
OPENVINO = Refusal(
    "openvino_ir",
    "an OpenVINO model (.xml, .bin)",
    "OpenVINO's own format is not read.",
    "Send what it was converted from: the ONNX, TFLite or SavedModel file.",
)
TENSORRT = Refusal(
    "tensorrt", "a TensorRT engine", "It is compiled for one GPU, and cannot be trained.", "Send its ONNX file."
)
EXECUTORCH = Refusal("executorch", "an ExecuTorch program (.pte)", "It is compiled for one device.", STATE_DICT)
RKNN = Refusal("rknn", "an RKNN model", "It is compiled for one chip.", "Send the ONNX file it was converted from.")
GGUF = Refusal(
    "gguf",
    "a GGUF or GGML file",
    "They hold language models.",
    "Send an image network: ONNX, SavedModel, TFLite, Keras, or PyTorch weights.",
)
ADAPTER = Refusal(
    "adapter",
    "an adapter (LoRA) without its base network",
    "Its weights are differences to another network's.",
    "Merge it (model.merge_and_unload() in peft), save the whole network with save_pretrained, and send that folder.",
)
DIFFUSION = Refusal(
    "diffusion_pipeline",
    "a diffusion pipeline",
    "It makes images, and has no features of them.",
    "Send an image classifier or a vision tower.",
)
FLAX = Refusal(
    "flax",
    "a Flax or Orbax checkpoint",
    "JAX's formats are not read, but for ViT's .npz.",
    "Convert it to PyTorch (in transformers 4: from_pretrained(folder, from_flax=True), then save_pretrained), and "
    "send that folder.",
)
NUMPY_ARRAY = Refusal(
    "single_array",
    "one NumPy array (.npy)",
    "A network has many.",
    "Send all weights as a .safetensors file, and name the architecture.",
)
GIT_LFS = Refusal(
    "git_lfs_pointer",
    "a pointer of Git LFS, not the file itself",
    "The repository was cloned without its large files.",
    "Run git lfs pull, and send the file that is there then.",
)
HTML = Refusal(
    "html_page",
    "a web page",
    "The download gave a page in place of the file, often one that asks to log in or to accept terms.",
    "Download the file itself, in the browser or with a token, and send that.",
)
IMAGE = Refusal(
    "not_a_network",
    "an image",
    "A backbone is a trained network.",
    "Send images as a dataset: POST /v1/datasets, as a zip with a folder for each class.",
)
DATASET = Refusal(
    "not_a_network",
    "an archive of images",
    "A backbone is a trained network.",
    "Send it as a dataset: POST /v1/datasets.",
)
TEXT = Refusal(
    "not_a_network",
    "a text",
    "A backbone is a trained network with its weights.",
    "Send the file of the network: .onnx, .tflite, .keras, .h5, .safetensors, .pth, .npz, or a folder as a zip.",
)
DOCUMENT = Refusal("not_a_network", "a document", TEXT.why, TEXT.instead)
ARCHIVE = Refusal(
    "archive_unsupported",
    "an archive that is not read (7z, rar, xz, bzip2 or zstd)",
    "Archives are read as .zip, .tar or .tar.gz.",
    "Pack it as one of them, and send it again.",
)
EMPTY = Refusal("file_broken", "empty", "The upload or the export failed.", AGAIN)
TRUNCATED = Refusal("file_broken", "truncated or damaged", "It ends before all that it announces.", AGAIN)
SAFETENSORS_HEADER = Refusal(
    "file_broken",
    "a damaged safetensors file",
    "Its header, which lists its tensors, is no JSON, or has more than 64 MiB.",
    AGAIN,
)
RAW_NUMBERS = Refusal(
    "format_unknown",
    "of no format that is known",
    "A raw file of numbers (.bin, .data, .pdiparams) says nothing of its network.",
    TEXT.instead,
)
UNKNOWN_ARCHIVE = Refusal(
    "format_unknown",
    "an archive in which no network is found",
    "Neither a SavedModel (saved_model.pb), nor a folder with config.json and model.safetensors, nor one file of a "
    "network is in it.",
    "Send the folder or the file as the framework wrote it.",
)
SEVERAL = Refusal(
    "several_networks", "an archive with several networks", "A backbone is one of them.", "Send the one that you mean."
)
UNKNOWN_HDF5 = Refusal(
    "format_unknown",
    "an HDF5 file that Keras did not write",
    "It has neither a network's description nor Keras's groups of weights.",
    "Send the network as .keras (model.save('model.keras')) or as ONNX.",
)

REFUSALS: Sequence[Refusal] = (
    TORCHSCRIPT, PT2, PICKLED_MODULE, PICKLE, SKLEARN, COREML, CAFFE, DARKNET, PADDLE, MXNET, FROZEN_GRAPH,
    LONE_SAVED_MODEL, TENSORFLOW_CHECKPOINT, TENSORFLOW_JS, KERAS_JSON, NCNN, OPENVINO, TENSORRT, EXECUTORCH, RKNN,
    GGUF, ADAPTER, DIFFUSION, FLAX, NUMPY_ARRAY, GIT_LFS, HTML, IMAGE, DATASET, TEXT, DOCUMENT, ARCHIVE, EMPTY,
    TRUNCATED, SAFETENSORS_HEADER, RAW_NUMBERS, UNKNOWN_ARCHIVE, SEVERAL, UNKNOWN_HDF5,
)  # fmt: skip
