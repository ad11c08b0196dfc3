import {
  Controller,
  type DynamicModule,
  Get,
  Header,
  Inject,
  Module,
  type OnApplicationShutdown,
} from '@nestjs/common';
import { metrics } from '@opentelemetry/api';
import { PrometheusExporter, PrometheusSerializer } from '@opentelemetry/exporter-prometheus';
import { MeterProvider } from '@opentelemetry/sdk-metrics';

/** The endpoint that Prometheus scrapes. */
@Controller('metrics')
class MetricsController {
  private readonly serializer = new PrometheusSerializer();

  constructor(@Inject(PrometheusExporter) private readonly exporter: PrometheusExporter) {}

  @Get()
  @Header('Content-Type', 'text/plain; version=0.0.4; charset=utf-8')
  @Header('Cache-Control', 'no-store')
  async scrape(): Promise<string> {
    const { resourceMetrics } = await this.exporter.collect();
    return this.serializer.serialize(resourceMetrics);
  }
}

/** Serves `/metrics` without authentication: block the path at your proxy. */
@Module({ controllers: [MetricsController] })
export class MetricsModule implements OnApplicationShutdown {
  constructor(private readonly provider: MeterProvider) {}

  /** Sets up the SDK immediately, because instruments created before it never report. */
  static start(): DynamicModule {
    const exporter = new PrometheusExporter({ preventServerStart: true });
    const provider = new MeterProvider({ readers: [exporter] });
    metrics.setGlobalMeterProvider(provider);
    return {
      module: MetricsModule,
      providers: [
        { provide: PrometheusExporter, useValue: exporter },
        { provide: MeterProvider, useValue: provider },
      ],
    };
  }

  async onApplicationShutdown(): Promise<void> {
    metrics.disable();
    await this.provider.shutdown();
  }
}
