import type { IChartApi } from "lightweight-charts";
import type { RefObject } from "preact";
import { zoom } from "./time-chart";

/** Moves a chart without a mouse. */
export function ZoomButtons({ chart, of }: { chart: RefObject<IChartApi | null>; of: string }) {
  const act = (action: (chart: IChartApi) => void) => () => chart.current && action(chart.current);
  return (
    // biome-ignore lint/a11y/useSemanticElements: a fieldset is for fields
    <div class="zoom" role="group" aria-label={`Zoom of the ${of}`}>
      <button type="button" aria-label="Zoom out" onClick={act((one) => zoom(one, 1 / 1.5))}>
        −
      </button>
      <button type="button" aria-label="Zoom in" onClick={act((one) => zoom(one, 1.5))}>
        +
      </button>
      <button type="button" aria-label="Show all" onClick={act((one) => one.timeScale().fitContent())}>
        All
      </button>
    </div>
  );
}
