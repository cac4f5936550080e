import argparse
import time

parser = argparse.ArgumentParser()
parser.add_argument("--size", type=int)
size = parser.parse_args().size

begin = time.perf_counter()
rows = sorted(range(size * 1000, 0, -1), key=str)
seconds = time.perf_counter() - begin
print(f"__results.throughput__= {len(rows) / seconds}")
print('__results.unit__= "rows"')
