//! The executable of serve-dashboard.

use std::{process::ExitCode, sync::Arc};

use lambda_http::{Adapter, Service, service_fn};
use serve_dashboard::{Config, Never, ServeDashboard};
use warehouse::Warehouse;

fn main() -> ExitCode {
    function_kit::run(&serve_dashboard::ABOUT, async |environment| {
        let config = Config::read(environment.with_secrets().await?)?;
        let warehouse = Warehouse::connect(config.warehouse.clone()).await?;
        let dashboard = Arc::new(ServeDashboard::new(warehouse, &config));
        let http = Adapter::from(service_fn(move |request| {
            let dashboard = Arc::clone(&dashboard);
            async move { Ok::<_, Never>(dashboard.handle(&request).await) }
        }));
        Ok(async move |event| http.clone().call(event).await)
    })
}
