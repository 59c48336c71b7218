//! The event streams of the console: the status of the mirror, as runs change it. All work is done by the streams that
//! are open: a server whose console nobody reads does none.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Method, StatusCode, header};
use mirror_listen::EventSender;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::body::ServeBody;
use crate::console::View;
use crate::error::{Chain, ServeError};
use crate::reply::{Answer, set, text, typed};

/// The interval between two looks whether the mirror has changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The longest interval between two events. Ages and due dates change without the mirror, and a page that receives
/// nothing for some time takes its server for lost.
const TELL_EVERY: Duration = Duration::from_secs(5);

impl App {
    /// Opens an event stream, if there is a place for one more. It ends with the server, or with its reader.
    pub(crate) fn stream(self: &Arc<Self>, method: &Method, stop: &CancellationToken) -> Answer {
        if method == Method::HEAD {
            return event_answer(ServeBody::Empty);
        }
        let Some((sender, stream)) = self.event_places.open() else {
            let why = "there are too many event streams; ask for /api/status instead\n";
            return text(StatusCode::SERVICE_UNAVAILABLE, why);
        };
        tokio::spawn(stop.clone().run_until_cancelled_owned(follow(Arc::clone(self), sender)));
        event_answer(ServeBody::Events(stream))
    }
}

fn event_answer(body: ServeBody) -> Answer {
    let mut answer = typed("text/event-stream", "");
    *answer.body_mut() = body;
    set(&mut answer, header::CACHE_CONTROL, "no-store");
    // A proxy in between must not collect events.
    set(&mut answer, header::HeaderName::from_static("x-accel-buffering"), "no");
    answer
}

/// Sends the status when the mirror has changed, and now and then. Ends when the reader is gone, or when the mirror
/// cannot be read: then the page asks for the status and receives the reason.
async fn follow(app: Arc<App>, sender: EventSender) {
    loop {
        let status = current(&app).await;
        let (generation, status) = match status {
            Ok(status) => status,
            Err(error) => {
                tracing::debug!("an event stream ended: {}", Chain(&error));
                return;
            }
        };
        if !sender.send("status", &status).await {
            return;
        }
        let sent = Instant::now();
        while sent.elapsed() < TELL_EVERY
            && app.mirror.state().is_ok_and(|state| state.generation == generation)
        {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = sender.gone() => return,
            }
        }
    }
}

/// Returns the status, and the state of the mirror that it has at least.
async fn current(app: &Arc<App>) -> Result<(u64, String), ServeError> {
    let generation = app.mirror.state()?.generation;
    Ok((generation, app.known_view(View::Status).await?))
}
