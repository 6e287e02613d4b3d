//! Requests and answers of every store: the texts of queries are those that the original's own builders give, the answers
//! are of the forms that the stores document.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;

use gennaker_metrics::cloudwatch::{self, What};
use gennaker_metrics::source::{check, parse, query_text, request};
use gennaker_metrics::{Account, Credentials, MAX_SERIES, Method, Scope, Source};
use proptest::prelude::*;
use serde_json::{Value, json};

fn scope() -> Scope {
    Scope {
        scope: "shop-v002".to_owned(),
        location: "us-east-1".to_owned(),
        start: 1_767_225_600_000,
        end: 1_767_225_780_000,
        step: 60,
        extended: BTreeMap::new(),
    }
}

fn with(extended: &[(&str, &str)]) -> Scope {
    let mut scope = scope();
    scope.extended = extended
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    scope
}

fn text(source: Source, query: Value, scope: &Scope) -> String {
    query_text(
        source,
        &json!({ "t": "a=\"${scope}\",b=\"c\"" }),
        &query,
        scope,
        &Account::default(),
    )
    .unwrap_or_else(|error| error.to_string())
}

fn credentials() -> Credentials {
    Credentials::new(
        ["apiKey", "applicationKey", "accessToken"]
            .iter()
            .map(|name| ((*name).to_owned(), format!("the {name}")))
            .collect(),
    )
}

#[test]
fn prometheus_is_asked_for_the_average_of_the_group() {
    let query = json!({ "metricName": "requests", "resourceType": "aws_ec2_instance", "labelBindings": ["x=\"y\""], "groupByFields": ["zone", "app"] });
    assert_eq!(
        text(Source::Prometheus, query, &scope()),
        r#"avg(requests{x="y",asg_groupName="shop-v002",zone=~"us-east-1.{1}"}) by (zone,app)"#
    );
    let query = json!({ "metricName": "requests", "resourceType": "gce_instance" });
    assert_eq!(
        text(Source::Prometheus, query, &with(&[("project", "p")])),
        r#"avg(requests{instance=~"shop-v002-.{4}",zone=~".+/projects/p/zones/us-east-1-.{1}"})"#
    );
    let query = json!({ "metricName": "requests", "customFilterTemplate": "t", "labelBindings": ["x=\"y\""] });
    assert_eq!(
        text(Source::Prometheus, query, &scope()),
        r#"avg(requests{a="shop-v002",b="c",x="y"})"#
    );
    let query = json!({ "customInlineTemplate": "PromQL:sum(rate(x{g=\"$\\{scope}\"}[1m]))" });
    assert_eq!(
        text(Source::Prometheus, query, &scope()),
        r#"sum(rate(x{g="shop-v002"}[1m]))"#
    );
    for (query, part) in [
        (
            json!({ "metricName": "m" }),
            "a resource type or a template",
        ),
        (
            json!({ "resourceType": "aws_ec2_instance" }),
            "metricName: is missing",
        ),
        (
            json!({ "metricName": "m", "resourceType": "k8s_pod" }),
            "`k8s_pod` is not known",
        ),
    ] {
        let told = text(Source::Prometheus, query, &scope());
        assert!(told.contains(part), "{told}");
    }
}

#[test]
fn a_scope_cannot_end_the_text_it_stands_in() {
    let mut hostile = with(&[("_scope_key", "asg"), ("tier", "x' OR '1'='1")]);
    hostile.scope = "a\"} or up{x=\"'\\".to_owned();
    let query = json!({ "metricName": "m", "resourceType": "aws_ec2_instance" });
    assert_eq!(
        text(Source::Prometheus, query, &hostile),
        r#"avg(m{asg_groupName="a\"} or up{x=\"'\\",zone=~"us-east-1.{1}"})"#
    );
    let nrql = text(
        Source::NewRelic,
        json!({ "select": "count(*) FROM T" }),
        &hostile,
    );
    assert!(nrql.contains(r"tier LIKE 'x\' OR \'1\'=\'1'"), "{nrql}");
    let program = text(Source::SignalFx, json!({ "metricName": "m" }), &hostile);
    assert!(
        program.contains(r"filter('tier', 'x\' OR \'1\'=\'1')"),
        "{program}"
    );
    assert!(text(Source::Datadog, json!({ "metricName": "m" }), &hostile).contains("brace"));
}

#[test]
fn the_other_stores_are_asked_as_the_original_asks_them() {
    assert_eq!(
        text(
            Source::Datadog,
            json!({ "metricName": "avg:system.cpu.user" }),
            &scope()
        ),
        "avg:system.cpu.user{shop-v002}"
    );
    let params = with(&[
        ("_scope_key", "autoScalingGroupName"),
        ("_location_key", "region"),
        ("env", "prod"),
    ]);
    assert_eq!(
        text(
            Source::NewRelic,
            json!({ "select": "average(duration) FROM Transaction", "q": "httpStatusCode LIKE '5%'" }),
            &params
        ),
        "SELECT average(duration) FROM Transaction TIMESERIES 60 seconds SINCE 1767225600 UNTIL 1767225780 WHERE \
         httpStatusCode LIKE '5%' AND env LIKE 'prod' AND autoScalingGroupName LIKE 'shop-v002' AND region LIKE 'us-east-1'"
    );
    assert_eq!(
        text(
            Source::NewRelic,
            json!({ "customInlineTemplate": "SELECT x SINCE ${startEpochSeconds} UNTIL ${endEpochSeconds} TIMESERIES ${step}" }),
            &params
        ),
        "SELECT x SINCE 1767225600 UNTIL 1767225780 TIMESERIES 60"
    );
    assert_eq!(
        text(
            Source::SignalFx,
            json!({ "metricName": "request.count", "aggregationMethod": "sum",
                    "queryPairs": [{ "key": "uri", "value": "/a" }, { "key": "!status", "value": "4xx, 5xx" }] }),
            &params
        ),
        "data('request.count', filter=filter('uri', '/a') and (not filter('status', '4xx','5xx')) and \
         filter('autoScalingGroupName', 'shop-v002') and filter('region', 'us-east-1') and filter('env', 'prod'))\
         .sum(by=['env', 'region', 'autoScalingGroupName']).publish()"
    );
    assert_eq!(
        text(
            Source::Graphite,
            json!({ "metricName": "stats.$location.$scope.cpu" }),
            &scope()
        ),
        "stats.us-east-1.shop-v002.cpu"
    );
    assert!(text(Source::NewRelic, json!({ "select": "x" }), &scope()).contains("scope key"));
}

#[test]
fn requests_carry_times_and_credentials_where_each_store_wants_them() {
    let of = |source| request(source, "Q", &scope(), &credentials()).unwrap();
    let parameters = |source| {
        let made = of(source);
        let list: Vec<String> = made
            .parameters
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        format!("{} {}", made.path, list.join("&"))
    };
    assert_eq!(
        parameters(Source::Prometheus),
        "/api/v1/query_range query=Q&start=1767225600.000&end=1767225780.000&step=60"
    );
    assert_eq!(
        parameters(Source::Datadog),
        "/api/v1/query from=1767225600&to=1767225780&query=Q"
    );
    assert_eq!(
        parameters(Source::NewRelic),
        "/v1/accounts/the%20applicationKey/query nrql=Q"
    );
    assert_eq!(
        parameters(Source::SignalFx),
        "/v2/signalflow/execute start=1767225600000&stop=1767225780000&resolution=60000&maxDelay=0&immediate=true"
    );
    assert_eq!(
        parameters(Source::Graphite),
        "/render target=Q&from=1767225600&until=1767225780&format=json"
    );
    assert_eq!(of(Source::SignalFx).body.as_deref(), Some("Q"));
    let long = request(
        Source::Prometheus,
        &"é ".repeat(2_000),
        &scope(),
        &credentials(),
    )
    .unwrap();
    assert_eq!(long.method, Method::Post);
    assert!(long.body.unwrap().starts_with("query=%C3%A9%20"));
    assert!(request(Source::Datadog, "Q", &scope(), &Credentials::default()).is_err());
    for source in Source::ALL.into_iter().skip(1) {
        assert!(
            !format!("{:?} {:?}", of(source), credentials()).contains("the "),
            "{source:?}"
        );
    }
}

fn values(source: Source, body: &str) -> Result<Vec<Vec<f64>>, String> {
    parse(source, &Value::Null, body, &scope())
        .map(|found| found.into_iter().map(|series| series.values).collect())
        .map_err(|error| error.to_string())
}

#[test]
fn answers_become_series() {
    let prometheus = r#"{"status":"success","data":{"resultType":"matrix","result":[
        {"metric":{"__name__":"up","zone":"a"},"values":[[1767225600,"1"],[1767225660.0,"+Inf"],[1767225720,"NaN"]]}]}}"#;
    let found = parse(Source::Prometheus, &Value::Null, prometheus, &scope()).unwrap();
    assert_eq!(
        found[0].tags,
        BTreeMap::from([("zone".to_owned(), "a".to_owned())])
    );
    assert_eq!(
        (found[0].step_millis, found[0].end),
        (60_000, 1_767_225_780_000)
    );
    assert_eq!(format!("{:?}", found[0].values), "[1.0, inf, NaN]");
    let datadog = r#"{"status":"ok","series":[{"start":1767225600000,"end":1767225779000,"interval":60,
        "pointlist":[[1767225600000.0,0.5],[1767225720000.0,null]]}]}"#;
    assert_eq!(
        format!("{:?}", values(Source::Datadog, datadog)),
        "Ok([[0.5, NaN, NaN]])"
    );
    let newrelic = r#"{"timeSeries":[
        {"beginTimeSeconds":1,"endTimeSeconds":2,"inspectedCount":5,"results":[{"average":1.5}]},
        {"beginTimeSeconds":2,"endTimeSeconds":3,"inspectedCount":5,"results":[{"percentiles":{"99":2.5}}]},
        {"beginTimeSeconds":3,"endTimeSeconds":4,"inspectedCount":0,"results":[{"average":0}]}],
        "metadata":{"beginTimeMillis":1000,"endTimeMillis":4000}}"#;
    assert_eq!(
        format!("{:?}", values(Source::NewRelic, newrelic)),
        "Ok([[1.5, 2.5, NaN]])"
    );
    let signalfx = "event: control-message\ndata: {\"event\":\"STREAM_START\"}\n\nevent: data\ndata: {\ndata: \"data\":[{\"tsId\":\"A\",\"value\":3}],\"logicalTimestampMs\":1}\n\nevent: data\ndata: {\"data\":[],\"logicalTimestampMs\":2}\n\nevent: control-message\ndata: {\"event\":\"END_OF_CHANNEL\"}\n\n";
    assert_eq!(
        format!("{:?}", values(Source::SignalFx, signalfx)),
        "Ok([[3.0, NaN]])"
    );
    let graphite = r#"[{"target":"x","datapoints":[[1,1767225600],[null,1767225660]]}]"#;
    assert_eq!(
        format!("{:?}", values(Source::Graphite, graphite)),
        "Ok([[1.0, NaN]])"
    );
}

#[test]
fn a_store_without_data_gives_an_empty_series_of_the_asked_time() {
    for (source, body) in [
        (
            Source::Prometheus,
            r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#,
        ),
        (Source::Datadog, r#"{"status":"ok","series":[]}"#),
        (Source::Graphite, "[]"),
    ] {
        let found = parse(source, &Value::Null, body, &scope()).unwrap();
        assert_eq!(
            (found.len(), found[0].expected_points()),
            (1, 3),
            "{source:?}"
        );
    }
}

#[test]
fn anything_else_is_an_error_that_names_the_store_and_shows_the_beginning() {
    for (source, body, part) in [
        (
            Source::Prometheus,
            "<html>Sign in</html>",
            "`<html>Sign in</html>`",
        ),
        (
            Source::Prometheus,
            r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#,
            "bad_data: parse error",
        ),
        (
            Source::Prometheus,
            r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#,
            "a vector",
        ),
        (
            Source::Prometheus,
            r#"{"status":"success","data":{"result":[{"values":[[1,2]]}]}}"#,
            "no [time",
        ),
        (
            Source::Datadog,
            r#"{"series":[{"start":0,"end":1,"interval":0,"pointlist":[]}]}"#,
            "interval of 0",
        ),
        (
            Source::Datadog,
            r#"{"series":[{"start":0,"end":9223372036854775807,"interval":1,"pointlist":[]}]}"#,
            "points",
        ),
        (
            Source::Datadog,
            r#"{"status":"error","error":"rate limited"}"#,
            "rate limited",
        ),
        (
            Source::NewRelic,
            r#"{"error":"NRQL Syntax Error"}"#,
            "NRQL Syntax Error",
        ),
        (Source::SignalFx, "half a page", "no events"),
        (
            Source::SignalFx,
            "event: error\ndata: {\"message\":\"bad program\"}\n\n",
            "bad program",
        ),
        (
            Source::SignalFx,
            "event: data\ndata: {\"data\":[{\"value\":1},{\"value\":2}]}\n\n",
            "aggregate",
        ),
        (
            Source::SignalFx,
            "event: control-message\ndata: {\"event\":\"STREAM_START\"}\n\nevent: data\ndata: {\"data\":[{\"value\":1}]}\n\n",
            "broke off after 1 points",
        ),
        (
            Source::SignalFx,
            "event: control-message\ndata: {\"event\":\"CHANNEL_ABORT\",\"abortInfo\":{\"sf_job_abortReason\":\"too slow\"}}\n\n",
            "too slow",
        ),
        (Source::Graphite, r#"{"a":1}"#, "a list of targets"),
        (
            Source::Graphite,
            r#"[{"datapoints":[[1]]}]"#,
            "no [value, time]",
        ),
    ] {
        let told = values(source, body).unwrap_err();
        assert!(
            told.starts_with(source.as_str()) && told.contains(part),
            "{told}"
        );
    }
}

/// Answers whose series take far more room than their text.
#[test]
fn an_answer_that_would_not_fit_into_memory_is_refused_while_it_is_read() {
    let year = r#"{"start":0,"end":31536000000,"interval":10,"pointlist":[]}"#;
    let datadog = format!(r#"{{"series":[{}]}}"#, vec![year; 1_000].join(","));
    let empty = r#"{"metric":{},"values":[]}"#;
    let prometheus = format!(
        r#"{{"status":"success","data":{{"result":[{}]}}}}"#,
        vec![empty; MAX_SERIES + 1].join(",")
    );
    let graphite = format!(
        "[{}]",
        vec![r#"{"datapoints":[]}"#; MAX_SERIES + 1].join(",")
    );
    for (source, body, part) in [
        (Source::Datadog, datadog, "longer step"),
        (Source::Prometheus, prometheus, "has to aggregate"),
        (Source::Graphite, graphite, "has to aggregate"),
    ] {
        let told = values(source, &body).unwrap_err();
        assert!(told.contains(part), "{told}");
    }
}

#[test]
fn a_long_answer_is_read_and_the_last_one_may_still_be_wrong() {
    let points: Vec<String> = (0..200_000)
        .map(|second| format!(r#"[{},"{}"]"#, 1_767_225_600 + second, second % 97))
        .collect();
    let answer = |points: &str| {
        format!(
            r#"{{"status":"success","data":{{"resultType":"matrix","result":[{{"metric":{{}},"values":[{points}]}}]}}}}"#
        )
    };
    let whole = answer(&points.join(","));
    let found = values(Source::Prometheus, &whole).unwrap();
    assert_eq!((found[0].len(), found[0][96]), (200_000, 96.0));
    let told = values(Source::Prometheus, &answer(&(points.join(",") + ",[1]"))).unwrap_err();
    assert!(told.contains("no [time, \"value\"]: `[1]`"), "{told}");
    let told = values(Source::Prometheus, &whole[..whole.len() / 2]).unwrap_err();
    assert!(told.contains("no JSON"), "{told}");
}

#[test]
fn cloudwatch_is_asked_for_a_metric_or_an_expression_over_several() {
    let made = cloudwatch::queries(
        &Value::Null,
        &json!({ "namespace": "AWS/EC2", "metricName": "CPUUtilization", "statistic": "p99" }),
        &scope(),
    )
    .unwrap();
    assert!(
        matches!(&made[0].what, What::Metric { dimensions, statistic, .. }
        if dimensions[0].1 == "shop-v002" && statistic == "p99")
    );
    let query = json!({
        "expression": "100 * errors / requests",
        "metrics": [
            { "id": "errors", "namespace": "shop", "metricName": "Errors", "statistic": "Sum", "dimensions": { "Group": "${scope}" } },
            { "id": "requests", "namespace": "shop", "metricName": "Requests", "statistic": "Sum", "dimensions": { "Region": "${region}" } },
        ],
    });
    let made = cloudwatch::queries(&Value::Null, &query, &scope()).unwrap();
    let returned: Vec<(&str, bool)> = made
        .iter()
        .map(|query| (query.id.as_str(), query.returned))
        .collect();
    assert_eq!(
        returned,
        [("errors", false), ("requests", false), ("result", true)]
    );
    let insights = json!({ "customInlineTemplate": "SELECT AVG(CPUUtilization) FROM SCHEMA(\"AWS/EC2\", AutoScalingGroupName) WHERE AutoScalingGroupName = '${scope}'" });
    let made = cloudwatch::queries(&Value::Null, &insights, &scope()).unwrap();
    assert!(matches!(&made[0].what, What::Expression { text } if text.ends_with("'shop-v002'")));
    for (query, part) in [
        (json!({ "metricName": "x" }), "namespace: is missing"),
        (
            json!({ "namespace": "n", "metricName": "${nope}" }),
            "nothing is bound",
        ),
        (
            json!({ "expression": "a", "metrics": [{ "id": "A" }] }),
            "metrics[0].id",
        ),
        (
            json!({ "expression": "a", "metrics": [{ "id": "a", "namespace": "n" }] }),
            "metrics[0].metricName",
        ),
        (
            json!({ "namespace": "n", "metricName": "m", "dimensions": { "d": 1 } }),
            "dimensions.d",
        ),
    ] {
        let told = cloudwatch::queries(&Value::Null, &query, &scope())
            .unwrap_err()
            .to_string();
        assert!(told.contains(part), "{told}");
    }
}

#[test]
fn a_query_is_checked_without_a_scope_as_far_as_it_can_be() {
    for (query, told) in [
        (
            json!({ "type": "stackdriver" }),
            "`stackdriver` is not served",
        ),
        (
            json!({ "type": "prometheus", "resourceType": "aws_ec2_instance" }),
            "metricName: is missing",
        ),
        (
            json!({ "type": "cloudwatch", "metricName": "x" }),
            "namespace: is missing",
        ),
        (
            json!({ "type": "cloudwatch", "expression": "a", "metrics": [{ "id": "a" }] }),
            "metrics[0].namespace: is missing",
        ),
        (json!({ "type": "newrelic" }), "select: is missing"),
        (json!({ "type": "signalfx" }), "metricName: is missing"),
        (json!({ "type": "graphite" }), "metricName: is missing"),
        (json!({ "type": "datadog" }), "metricName: is missing"),
    ] {
        let error = check(&Value::Null, &query).unwrap_err().to_string();
        assert!(error.contains(told), "{query}: {error}");
    }
    // A stage's scopes may bind these.
    for query in [
        json!({ "type": "datadog", "customInlineTemplate": "avg:x{$\\{whose}}" }),
        json!({ "type": "prometheus", "customInlineTemplate": "PromQL:up{${labels}}" }),
        json!({ "namespace": "shop", "metricName": "${which}" }),
        json!({ "type": "newrelic", "select": "count(*) FROM T" }),
    ] {
        check(&Value::Null, &query).unwrap();
    }
}

#[test]
fn an_unknown_source_is_refused_with_those_there_are() {
    assert_eq!(
        Source::of(&json!({ "serviceType": "datadog" })),
        Ok(Source::Datadog)
    );
    let told = Source::of(&json!({ "type": "atlas" }))
        .unwrap_err()
        .to_string();
    assert!(
        told.contains("`atlas`") && told.contains("prometheus"),
        "{told}"
    );
}

proptest! {
    #[test]
    fn no_answer_makes_it_panic(body in ".{0,300}", source in 1..6usize) {
        let _ = parse(Source::ALL[source], &Value::Null, &body, &scope());
    }

    #[test]
    fn no_odd_answer_of_the_right_kind_makes_it_panic(numbers in proptest::collection::vec(any::<i64>(), 6), source in 1..6usize) {
        let n = |at: usize| numbers[at];
        let body = match Source::ALL[source] {
            Source::Datadog => json!({ "series": [{ "start": n(0), "end": n(1), "interval": n(2) % 1_000_000, "pointlist": [[n(3), n(4)], [n(5)]] }] }),
            Source::Graphite => json!([{ "datapoints": [[n(0), n(1)], [n(2), n(3)]] }]),
            Source::NewRelic => json!({ "timeSeries": [{ "beginTimeSeconds": n(0) }, { "beginTimeSeconds": n(1), "results": [{ "x": n(2) }] }] }),
            _ => json!({ "data": { "result": [{ "values": [[n(0), "1"], [n(1), "2"], [n(2), "3"]] }] } }),
        };
        let _ = parse(Source::ALL[source], &Value::Null, &body.to_string(), &scope());
    }
}

/// Answers with every field that the stores' own references show, not only those that are read.
#[test]
fn answers_as_the_stores_document_them_are_read() {
    let prometheus = r#"{"status":"success","data":{"resultType":"matrix","result":[
        {"metric":{"__name__":"up","job":"prometheus","instance":"localhost:9090"},"values":[[1767225600.781,"1"],[1767225660.781,"1"]]},
        {"metric":{"__name__":"up","job":"node","instance":"localhost:9091"},"values":[[1767225600.781,"0"],[1767225660.781,"0"]],
         "histograms":[]}]},"warnings":["shown to people"],"infos":[]}"#;
    assert_eq!(
        format!("{:?}", values(Source::Prometheus, prometheus)),
        "Ok([[1.0, 1.0], [0.0, 0.0]])"
    );
    let datadog = r#"{"error":"","from_date":1767225600000,"group_by":[],"message":"","query":"avg:system.cpu.idle{*}",
        "res_type":"time_series","resp_version":1,"status":"ok","times":[],"to_date":1767225779000,"values":[],
        "series":[{"aggr":"avg","attributes":{},"display_name":"system.cpu.idle","end":1767225779000,"expression":"avg:system.cpu.idle{*}",
            "interval":60,"length":3,"metric":"system.cpu.idle","query_index":0,"scope":"*","start":1767225600000,"tag_set":[],
            "pointlist":[[1767225600000.0,98.5],[1767225660000.0,97.25],[1767225720000.0,99.0]],
            "unit":[{"family":"percentage","name":"percent","plural":"percent","scale_factor":1.0,"short_name":"%"},null]}]}"#;
    assert_eq!(
        format!("{:?}", values(Source::Datadog, datadog)),
        "Ok([[98.5, 97.25, 99.0]])"
    );
    let newrelic = r#"{"total":{"results":[{"average":1.5}],"beginTimeSeconds":1767225600,"endTimeSeconds":1767225720,"inspectedCount":20},
        "timeSeries":[{"results":[{"average":1.25}],"beginTimeSeconds":1767225600,"endTimeSeconds":1767225660,"inspectedCount":11},
                      {"results":[{"average":1.75}],"beginTimeSeconds":1767225660,"endTimeSeconds":1767225720,"inspectedCount":9}],
        "performanceStats":{"inspectedCount":20,"omittedCount":0,"matchCount":20,"wallClockTime":12},
        "metadata":{"eventTypes":["Transaction"],"eventType":"Transaction","openEnded":false,"messages":[],
            "beginTimeMillis":1767225600000,"endTimeMillis":1767225720000,"beginTime":"2026-01-01T00:00:00Z","endTime":"2026-01-01T00:02:00Z",
            "bucketSizeMillis":60000,"rawSince":"1767225600","rawUntil":"1767225720","rawCompareWith":"","guid":"g","routerGuid":"r",
            "timeSeries":{"messages":[],"contents":[{"function":"average","attribute":"duration","simple":true}]}}}"#;
    assert_eq!(
        format!("{:?}", values(Source::NewRelic, newrelic)),
        "Ok([[1.25, 1.75]])"
    );
    let signalfx = concat!(
        "event: control-message\ndata: {\ndata:   \"event\" : \"STREAM_START\",\ndata:   \"timestampMs\" : 1767225600100\ndata: }\n\n",
        "event: control-message\ndata: {\ndata:   \"event\" : \"JOB_START\",\ndata:   \"handle\" : \"AAA\",\ndata:   \"timestampMs\" : 1767225600200\ndata: }\n\n",
        "event: message\nid: \ndata: {\ndata:   \"logicalTimestampMs\" : 1767225600000,\ndata:   \"message\" : { \"messageCode\" : \"JOB_RUNNING_RESOLUTION\", \"contents\" : { \"resolutionMs\" : 60000 } }\ndata: }\n\n",
        "event: metadata\ndata: {\ndata:   \"properties\" : { \"sf_type\" : \"MetricTimeSeries\", \"sf_streamLabel\" : \"data\" },\ndata:   \"tsId\" : \"AAAA\"\ndata: }\n\n",
        "event: data\nid: data-1767225600000\ndata: {\ndata:   \"data\" : [ { \"tsId\" : \"AAAA\", \"value\" : 2.5 } ],\ndata:   \"logicalTimestampMs\" : 1767225600000,\ndata:   \"maxDelayMs\" : 10000\ndata: }\n\n",
        "event: data\nid: data-1767225660000\ndata: {\ndata:   \"data\" : [ { \"tsId\" : \"AAAA\", \"value\" : 3.5 } ],\ndata:   \"logicalTimestampMs\" : 1767225660000,\ndata:   \"maxDelayMs\" : 10000\ndata: }\n\n",
        "event: control-message\ndata: {\ndata:   \"event\" : \"END_OF_CHANNEL\",\ndata:   \"timestampMs\" : 1767225661000\ndata: }\n\n",
    );
    assert_eq!(
        format!("{:?}", values(Source::SignalFx, signalfx)),
        "Ok([[2.5, 3.5]])"
    );
    let graphite = r#"[{"target":"entries","tags":{"name":"entries"},"datapoints":[[1.0,1767225600],[2.0,1767225660],[null,1767225720]]}]"#;
    assert_eq!(
        format!("{:?}", values(Source::Graphite, graphite)),
        "Ok([[1.0, 2.0, NaN]])"
    );
}
