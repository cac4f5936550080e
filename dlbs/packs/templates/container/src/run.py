"""The program in the container: JSON lines in, as many JSON lines out."""

import argparse
import json


def predict(instance):
    """Replace this with the model."""
    return instance["text"][::-1]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--input-file", required=True)
    parser.add_argument("--output-file", required=True)
    options = parser.parse_args()
    with open(options.input_file, encoding="utf-8") as lines, open(options.output_file, "w", encoding="utf-8") as out:
        for line in lines:
            out.write(json.dumps({"output": predict(json.loads(line))}) + "\n")


if __name__ == "__main__":
    main()
