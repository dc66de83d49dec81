//! What each kind of command does, from the words read to the output written.

use std::io::Write;

use hyper::Method;
use serde_json::{Map, Value, json};

use super::api::{Api, Query, path_of};
use super::args::Parsed;
use super::body;
use super::catalog;
use super::error::ClientError;
use super::format::Look;
use super::python;
use super::spec::{Action, Command, Resource};
use super::view;
use oslo::http::encode;

/// A command about to run.
pub(super) struct Run<'a> {
    /// The command.
    pub command: &'static Command,
    /// Its words.
    pub parsed: &'a Parsed,
    /// The API.
    pub api: &'a Api,
    /// How output is to look.
    pub look: Look<'a>,
    /// Where it goes.
    pub out: &'a mut (dyn Write + Send),
}

impl Run<'_> {
    /// Does what the command is there for.
    pub(super) async fn run(mut self) -> Result<(), ClientError> {
        match self.command.action {
            Action::List if self.command.name == "router-port-list" => {
                let router = self.api.find(&catalog::ROUTER, self.argument(0)).await?;
                self.list(self.command.resource.path, vec![("device_id".to_owned(), router)]).await
            }
            Action::List => self.list(self.command.resource.path, Query::new()).await,
            Action::ListAt(template, of) => {
                let id = match of {
                    Some(resource) => self.api.find(resource, self.argument(0)).await?,
                    None => self.argument(0).to_owned(),
                };
                self.list(&path_of(template, &id), Query::new()).await
            }
            Action::QuotaList => self.list("quotas", Query::new()).await,
            Action::Show => self.show().await,
            Action::Create(_) => self.create().await,
            Action::Update(_) => self.update().await,
            Action::Delete => self.delete().await,
            Action::Attach(template, key, resource, words) => {
                let id = self.api.find(resource, self.argument(1)).await?;
                let path = path_of(template, self.argument(0));
                self.api.request(Method::POST, &path, &Query::new(), Some(&json!({key: id}))).await?;
                self.say(&words.replace("{}", self.argument(1)))
            }
            Action::Detach(template, resource, words) => {
                let id = self.api.find(resource, self.argument(1)).await?;
                let path = format!("{}/{id}", path_of(template, self.argument(0)));
                self.api.request(Method::DELETE, &path, &Query::new(), None).await?;
                self.say(&words.replace("{}", self.argument(1)))
            }
            Action::Routed(what) => self.routed(what).await,
            Action::TagAdd | Action::TagRemove | Action::TagReplace => self.tag().await,
            Action::QuotaShow(defaults) => {
                let project = self.project().await?;
                let path = format!("quotas/{}{}", encode(&project), if defaults { "/default" } else { "" });
                let body = self.api.request(Method::GET, &path, &Query::new(), None).await?;
                self.write_fields(body["quota"].clone())
            }
            Action::QuotaUpdate => self.quota_update().await,
            Action::QuotaDelete => {
                let project = self.project().await?;
                let path = format!("quotas/{}", encode(&project));
                self.api.request(Method::DELETE, &path, &Query::new(), None).await?;
                self.say(&format!("Deleted quota: {project}"))
            }
        }
    }

    pub(super) fn argument(&self, index: usize) -> &str {
        self.parsed.argument(index).unwrap_or_default()
    }

    pub(super) fn say(&mut self, line: &str) -> Result<(), ClientError> {
        Ok(writeln!(self.out, "{line}")?)
    }

    fn item_path(&self, id: &str) -> String {
        format!("{}/{}", self.command.resource.path, encode(id))
    }

    fn write_fields(&mut self, body: Value) -> Result<(), ClientError> {
        let fields = view::fields(self.command, self.parsed, self.look.format(), body)?;
        Ok(self.look.write_fields(self.out, fields)?)
    }

    async fn list(&mut self, path: &str, more: Query) -> Result<(), ClientError> {
        let mut query = body::filters(self.command, self.api, self.parsed).await?;
        query.extend(more);
        let mut entries = self.api.list(path, self.command.resource.plural, &query).await?;
        view::extend(self.command, self.api, self.parsed, &mut entries).await?;
        let rows = view::rows(self.command, self.parsed, self.look.format(), &entries, self.api.is_admin())?;
        Ok(self.look.write_rows(self.out, rows)?)
    }

    async fn show(&mut self) -> Result<(), ClientError> {
        let resource = self.command.resource;
        let id = if resource.named {
            self.api.find(resource, self.argument(0)).await?
        } else if resource.name == "network_ip_availability" {
            self.api.find(&catalog::NETWORK, self.argument(0)).await?
        } else {
            self.argument(0).to_owned()
        };
        let fields = body::fields_asked(self.command, self.parsed);
        let query = fields.into_iter().map(|field| ("fields".to_owned(), field)).collect();
        let body = self.api.request(Method::GET, &self.item_path(&id), &query, None).await?;
        self.write_fields(body[resource.name].clone())
    }

    async fn create(&mut self) -> Result<(), ClientError> {
        let resource = self.command.resource;
        let attributes = body::attributes(self.command, self.api, self.parsed).await?;
        let body = json!({resource.name: attributes});
        let mut answer = self.api.request(Method::POST, resource.path, &Query::new(), Some(&body)).await?;
        if self.look.format() == "table" && answer[resource.name].is_object() {
            self.say(&format!("Created a new {}:", resource.name))?;
        }
        self.write_fields(answer[resource.name].take())
    }

    async fn update(&mut self) -> Result<(), ClientError> {
        let resource = self.command.resource;
        let attributes = body::attributes(self.command, self.api, self.parsed).await?;
        if attributes.is_empty() {
            return Err(ClientError::Refused(format!("Must specify new values to update {}", resource.name)));
        }
        let id = self.api.find(resource, self.argument(0)).await?;
        let body = json!({resource.name: attributes});
        self.api.request(Method::PUT, &self.item_path(&id), &Query::new(), Some(&body)).await?;
        self.say(&format!("Updated {}: {}", resource.name, self.argument(0)))
    }

    /// Deletes what can be deleted and then names what could not be found.
    async fn delete(&mut self) -> Result<(), ClientError> {
        let resource = self.command.resource;
        let (mut deleted, mut unknown, mut ambiguous) = (Vec::new(), Vec::new(), Vec::new());
        for name in self.parsed.positionals.first().into_iter().flatten() {
            match self.delete_one(resource, name).await {
                Ok(()) => deleted.push(name.as_str()),
                Err(error) if error.is_not_found() => unknown.push(name.as_str()),
                Err(ClientError::NoUniqueMatch { .. }) => ambiguous.push(name.as_str()),
                Err(error) => return Err(error),
            }
        }
        let kind = resource.name;
        if !deleted.is_empty() {
            self.say(&format!("Deleted {kind}(s): {}", deleted.join(", ")))?;
        }
        let mut complaints = Vec::new();
        if !unknown.is_empty() {
            complaints.push(format!("Unable to find {kind}(s) with id(s) '{}'.", unknown.join(", ")));
        }
        if !ambiguous.is_empty() {
            let names = ambiguous.join(", ");
            complaints.push(format!(
                "Multiple {kind}(s) matches found for name(s) '{names}'. Please use an ID to be more specific."
            ));
        }
        if complaints.is_empty() { Ok(()) } else { Err(ClientError::Refused(complaints.join("\n"))) }
    }

    async fn delete_one(&self, resource: &'static Resource, name: &str) -> Result<(), ClientError> {
        let id = if resource.named { self.api.find(resource, name).await? } else { name.to_owned() };
        self.api.request(Method::DELETE, &self.item_path(&id), &Query::new(), None).await.map(|_| ())
    }

    async fn tag(&self) -> Result<(), ClientError> {
        let needs = |option: &str| ClientError::Usage(format!("the following arguments are required: {option}"));
        let kind = self.parsed.value("--resource-type").ok_or_else(|| needs("--resource-type"))?;
        let resource = catalog::taggable(kind).ok_or_else(|| needs("--resource-type"))?;
        let name = self.parsed.value("--resource").ok_or_else(|| needs("--resource"))?;
        let tag = self.parsed.value("--tag");
        let (method, rest, body) = match (self.command.action, tag) {
            (Action::TagAdd, Some("")) => {
                return Err(ClientError::Refused("Cannot add an empty value as tag".into()));
            }
            (Action::TagAdd, Some(tag)) => (Method::PUT, format!("/{}", encode(tag)), None),
            (Action::TagReplace, Some(_)) => {
                (Method::PUT, String::new(), Some(json!({"tags": self.parsed.values("--tag")})))
            }
            (Action::TagRemove, _) if self.parsed.has("--all") => (Method::DELETE, String::new(), None),
            (Action::TagRemove, Some(tag)) => (Method::DELETE, format!("/{}", encode(tag)), None),
            (Action::TagRemove, None) => return Err(ClientError::Refused("--all or --tag must be specified".into())),
            _ => return Err(needs("--tag")),
        };
        let id = self.api.find(resource, name).await?;
        let path = format!("{}/{id}/tags{rest}", resource.path);
        self.api.request(method, &path, &Query::new(), body.as_ref()).await.map(|_| ())
    }

    /// The project a quota command is about: the one named, or the caller's.
    async fn project(&self) -> Result<String, ClientError> {
        if let Some(project) = self.parsed.argument(0).or_else(|| self.parsed.value("--tenant-id")) {
            return Ok(project.to_owned());
        }
        let body = self.api.request(Method::GET, "quotas/tenant", &Query::new(), None).await?;
        Ok(python::text(&body["tenant"]["tenant_id"]))
    }

    async fn quota_update(&mut self) -> Result<(), ClientError> {
        let limits: Map<String, Value> = body::attributes(self.command, self.api, self.parsed).await?;
        if limits.is_empty() {
            return Err(ClientError::Refused("Must specify a valid resource with new quota value".into()));
        }
        let path = format!("quotas/{}", encode(&self.project().await?));
        let body = json!({"quota": limits});
        let answer = self.api.request(Method::PUT, &path, &Query::new(), Some(&body)).await?;
        self.write_fields(answer["quota"].clone())
    }
}
