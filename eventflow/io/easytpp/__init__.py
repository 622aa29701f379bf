"""The layouts of EasyTPP's data: pickles (restricted), and the HuggingFace sets."""
