//! What the owners of objects are told of: the problems of a Service and of its EndpointSlices, under the Service's name,
//! since that is the object that people look at.

use std::collections::BTreeSet;

use crate::model::{Kind, ObjectRef, ServiceKey};

use super::planner::Planner;
use super::problem::{Notice, UNSUPPORTED};

impl Planner {
    /// All that the owner of `service` can mend now.
    pub(super) fn notice(&self, service: &ServiceKey) -> Notice {
        let object = ObjectRef { kind: Kind::Service, name: service.name() };
        let claimed = self.ledger.problems(service);
        let mut problems: Vec<_> =
            claimed.iter().filter_map(|problem| Some((problem.reason()?, problem.to_string()))).collect();
        problems.extend(self.cluster.complaint(&object).map(|problem| (UNSUPPORTED, problem.to_owned())));
        for name in self.cluster.slice_names(service) {
            let slice = ObjectRef { kind: Kind::EndpointSlice, name: name.clone() };
            let complaint = self.cluster.complaint(&slice);
            problems.extend(complaint.map(|problem| (UNSUPPORTED, format!("{slice}: {problem}"))));
        }
        Notice { object, uid: self.cluster.service(service).and_then(|service| service.uid.clone()), problems }
    }

    /// Notes what there is to say since something else of `objects` is not understood than before. Nodes and
    /// ServiceCIDRs are the operator's, who reads logs.
    pub(super) fn notice_complaints(&mut self, objects: BTreeSet<ObjectRef>) {
        for object in objects {
            let notice = match object.kind {
                Kind::Node | Kind::ServiceCidr => continue,
                Kind::Service => self.notice(&ServiceKey::from(object.name)),
                Kind::EndpointSlice => {
                    if let Some(slice) = self.cluster.slice(&object.name) {
                        let service = slice.service.clone();
                        self.notices.push(self.notice(&service));
                    }
                    self.orphan_notice(object)
                }
            };
            self.notices.push(notice);
        }
    }

    /// What there is to say of an EndpointSlice of which not even its Service is known: nothing if that is known.
    fn orphan_notice(&self, object: ObjectRef) -> Notice {
        let complaint = self.cluster.complaint(&object).filter(|_| self.cluster.slice(&object.name).is_none());
        let problems = complaint.map(|problem| (UNSUPPORTED, problem.to_owned())).into_iter().collect();
        Notice { object, uid: None, problems }
    }
}
