#!/bin/sh
# run.sh TARGET SECONDS - lets libFuzzer try a target for some time
#
# It begins with the inputs of test/vectors and of test/fuzz/corpus, and keeps what it finds in
# .fuzz/TARGET of the checkout: the next run goes on from there.  An input that breaks a rule is
# written to .fuzz/TARGET/crash-...; put it into test/fuzz/corpus/TARGET.hex in the same change
# that mends the fault:
#
#     perl -0777 -ne 'print unpack("H*", $_), "\n"' .fuzz/frame/crash-... \
#         >>test/fuzz/corpus/frame.hex
set -eu
cd "$(dirname "$0")/../.."
target=$1
seconds=$2
dir=.fuzz/$target
rm -rf "$dir/seeds"
mkdir -p "$dir/seeds" "$dir/found"

SEEDS=$dir/seeds perl -ne 'next unless /^(?:.*"frame": ")?((?:[0-9a-f]{2})+)/;
	open my $seed, ">:raw", sprintf("%s/%05d", $ENV{SEEDS}, ++$n) or die "$!\n";
	print $seed pack "H*", $1;' test/vectors/*.jsonl "test/fuzz/corpus/$target.hex"

"test/fuzz/fuzz_$target.bin" -max_total_time="$seconds" -print_final_stats=1 -verbosity=0 \
	-artifact_prefix="$dir/" "$dir/found" "$dir/seeds" >"$dir/log" 2>&1 ||
	{ tail -n 60 "$dir/log"; exit 1; }
sed -n "s/^stat::number_of_executed_units: */$target: executions in $seconds s: /p" "$dir/log"
