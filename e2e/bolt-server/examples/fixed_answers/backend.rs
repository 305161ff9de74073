//! A database that knows a few queries by heart: enough to see every kind of answer on the wire.

use bolt_server::{
    ChangeCounters, Executed, ExecutionSummary, Failure, Map, Node, Notification, Path, Prepare, Prepared,
    QueryKind, Relationship, Request, Response, Session, Summary, UnboundRelationship, UnexpectedResponse,
    Value,
};

/// The state of one session's database side.
#[derive(Debug, Default)]
pub struct FixedAnswers {
    user: Option<(String, String)>,
    /// Queries prepared in the open explicit transaction.
    transaction: Option<i64>,
    prepared: Option<Prepare>,
    /// How often `FAIL TWICE` has failed.
    failures: u8,
}

impl FixedAnswers {
    /// With a name and a password only that user is let in, otherwise everybody.
    pub fn new(user: Option<(String, String)>) -> Self {
        Self {
            user,
            ..Self::default()
        }
    }

    /// Answers the session until it wants more input.
    pub fn serve(&mut self, session: &mut Session) -> Result<(), UnexpectedResponse> {
        while let Some(request) = session.next_request() {
            let response = self.answer(request);
            session.respond(response)?;
        }
        Ok(())
    }

    fn answer(&mut self, request: Request) -> Response {
        match request {
            Request::Authenticate(login) => match &self.user {
                Some((name, password)) if (name, password) != (&login.principal, &login.credentials) => {
                    Response::AuthenticationRefused
                }
                _ => Response::Authenticated,
            },
            Request::Prepare(prepare) => self.prepare(prepare),
            Request::Execute { take } => self.execute(take),
            Request::Finish if self.prepared_query() == "FAIL ON COMMIT" => {
                Response::Failed(Failure::client("the commit failed"))
            }
            Request::Finish => Response::Finished(self.summary()),
            Request::Begin(options) if options.database.as_deref().is_some_and(|name| name != "memgraph") => {
                Response::Failed(Failure::transient("Tried to retrieve an unknown database."))
            }
            Request::Begin(_) => {
                self.transaction = Some(0);
                Response::Done
            }
            Request::Commit => match self.transaction.take() {
                Some(_) => Response::Committed {
                    notifications: Vec::new(),
                },
                None => Response::Failed(Failure::client("No current transaction to commit.")),
            },
            Request::Rollback | Request::Abort | Request::LogOff => {
                self.transaction = None;
                Response::Done
            }
        }
    }

    fn prepared_query(&self) -> &str {
        self.prepared.as_ref().map_or("", |prepare| &prepare.query)
    }

    fn prepare(&mut self, prepare: Prepare) -> Response {
        let fields: &[&str] = match prepare.query.as_str() {
            "FAIL ON RUN" => return Response::Failed(Failure::client("the preparation failed")),
            "FAIL TWICE" if self.failures < 2 => {
                self.failures += 1;
                return Response::Failed(Failure::transient("try again"));
            }
            "CREATE (:Token)" | "BEGIN" | "COMMIT" | "FAIL ON PULL" => &[],
            "GRAPH" => &["n", "r", "p"],
            _ => &["x"],
        };
        let query_id = self.transaction;
        self.transaction = query_id.map(|count| count + 1);
        self.prepared = Some(prepare);
        Response::Prepared(Prepared {
            fields: fields.iter().map(|&name| name.to_owned()).collect(),
            query_id,
        })
    }

    fn execute(&mut self, take: Option<u64>) -> Response {
        let Some(prepare) = &self.prepared else {
            return Response::Failed(Failure::client("nothing is prepared"));
        };
        let rows = match prepare.query.as_str() {
            "FAIL ON PULL" => return Response::Failed(Failure::client("the execution failed")),
            "CREATE (:Token)" => vec![vec![]],
            "BEGIN" => {
                self.transaction = Some(0);
                vec![]
            }
            "COMMIT" => {
                self.transaction = None;
                vec![]
            }
            "GRAPH" => vec![graph()],
            "COUNT TO $n" => {
                let n = prepare
                    .parameters
                    .get("n")
                    .and_then(Value::as_integer)
                    .unwrap_or_default();
                (1..=n).map(|i| vec![Value::Integer(i)]).collect()
            }
            "ECHO $x" => vec![vec![prepare.parameters.get("x").cloned().unwrap_or_default()]],
            _ => vec![vec![Value::Integer(1)]],
        };
        let ends = take.is_none_or(|take| rows.len() as u64 <= take) && prepare.query != "FAIL ON COMMIT";
        let summary = ends.then(|| self.summary());
        Response::Executed(Executed { rows, summary })
    }

    fn summary(&self) -> Summary {
        let query = self.prepared_query();
        if matches!(query, "BEGIN" | "COMMIT") {
            return Summary::default();
        }
        let creates = query.starts_with("CREATE");
        let changes = ChangeCounters {
            nodes_created: 1,
            labels_added: 1,
            ..ChangeCounters::default()
        };
        Summary {
            kind: Some(if creates {
                QueryKind::Write
            } else {
                QueryKind::Read
            }),
            database: Some("memgraph".to_owned()),
            parsing_time: Some(0.001),
            planning_time: Some(0.002),
            cost_estimate: Some(1.0),
            execution: Some(ExecutionSummary {
                seconds: 0.003,
                hops: 0,
                changes: if creates {
                    changes
                } else {
                    ChangeCounters::default()
                },
            }),
            notifications: match query {
                "NOTIFY" => vec![Notification::info("RegisterReplica", "Replica r1 is registered.")],
                _ => Vec::new(),
            },
        }
    }
}

/// A node, a relationship and a path through both of its ends.
fn graph() -> Vec<Value> {
    let node = |id| Node {
        id,
        labels: vec!["Person".to_owned()],
        properties: Map::from([("age".to_owned(), 7.into())]),
    };
    let properties = Map::from([("since".to_owned(), 1999.into())]);
    let kind = "KNOWS".to_owned();
    vec![
        Value::Node(node(1)),
        Value::Relationship(Relationship {
            id: 3,
            start: 1,
            end: 2,
            kind: kind.clone(),
            properties: properties.clone(),
        }),
        Value::Path(Path {
            nodes: vec![node(2), node(1)],
            relationships: vec![UnboundRelationship {
                id: 3,
                kind,
                properties,
            }],
            indices: vec![-1, 1],
        }),
    ]
}
