/** A small line of prices. It repeats what the figures beside it say. */
export function SparklineSvg({ closes }: { closes: readonly number[] }) {
  const [least, most] = [Math.min(...closes), Math.max(...closes)];
  if (closes.length < 2 || !Number.isFinite(most - least)) return <span class="spark" aria-hidden="true" />;
  const height = most - least || 1;
  const points = closes.map((close, index) => {
    const x = (100 * index) / (closes.length - 1);
    return `${x.toFixed(1)},${(22 - (20 * (close - least)) / height).toFixed(1)}`;
  });
  return (
    <svg class="spark" viewBox="0 0 100 24" preserveAspectRatio="none" aria-hidden="true">
      <polyline points={points.join(" ")} />
    </svg>
  );
}
